import functools
import io
import json
import os
import signal
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from releases.artifacts.store import CHUNK
from releases.errors import ArtifactStoreUnavailable
from releases.registration.verification_pool import verify
from tests import making
from wire.documents.contract import CONTRACT_ENTRY
from wire.documents.descriptor import ArtifactRef, Descriptor, descriptor_from_json
from wire.release.directory import DEFAULT_LIMITS
from wire.release.verification import OpenArtifact
from wire.release.verification import verify as verify_here

CONTRACT = making.contract()
DATA = making.archive(CONTRACT)


@functools.cache
def heavy_entries() -> bytes:
    """Return a valid archive with a contract and 10 entries of 16 MiB each when unpacked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(CONTRACT_ENTRY, json.dumps(CONTRACT))
        for number in range(10):
            file.writestr(f"{number}", bytes(16 * 1024**2))
    return buffer.getvalue()


def heavy_archive(salt: str) -> bytes:
    buffer = io.BytesIO(heavy_entries())
    with zipfile.ZipFile(buffer, "a") as file:
        file.writestr("salt", salt)
    return buffer.getvalue()


def verification_processes() -> list[int]:
    """Return the ids of the verification processes that this process has started."""
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            started_by = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # the process has ended
            continue
        if b"releases.registration.verification_process" in command and started_by == os.getpid():
            processes.append(int(folder.name))
    return processes


def described(*files: bytes) -> Descriptor:
    document = making.descriptor(CONTRACT, files[0])
    [artifact] = document["artifacts"]
    document["artifacts"] = [
        {**artifact, "artifactId": str(number), "digest": making.digest_of(data)} for number, data in enumerate(files)
    ]
    return descriptor_from_json(document)


def on_disk(*files: bytes, before: Callable[[], object] = lambda: None) -> OpenArtifact:
    stored = {making.digest_of(data): data for data in files}

    def open_artifact(artifact: ArtifactRef) -> BinaryIO | None:
        before()
        if artifact.digest not in stored:
            return None
        file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - the parent closes it
        file.write(stored[artifact.digest])
        file.seek(0)
        return file

    return open_artifact


def codes(descriptor: Descriptor, open_artifact: OpenArtifact) -> list[tuple[str, str]]:
    return [(finding.code, finding.field) for finding in verify(descriptor, open_artifact).findings]


def kill_all() -> None:
    for pid in verification_processes():
        os.kill(pid, signal.SIGKILL)


def test_a_child_process_gives_the_same_verdict_as_the_rules_and_each_file_is_closed() -> None:
    large, opened = making.archive(CONTRACT, code="x" * (3 * CHUNK)), list[BinaryIO]()
    for files, stored, beside in (
        ([DATA], [], None),
        ([DATA, b"no archive"], [DATA, b"no archive"], b"{}"),
        ([large], [large], None),
    ):
        descriptor, stored_file = described(*files), on_disk(*stored)

        def open_artifact(artifact: ArtifactRef, stored_file: OpenArtifact = stored_file) -> BinaryIO | None:
            file = stored_file(artifact)
            if file is not None:
                opened.append(file)
            return file

        assert verify(descriptor, open_artifact, beside) == verify_here(descriptor, stored_file, beside)
    assert [file.closed for file in opened] == [True] * 3


def test_a_release_whose_artifacts_take_too_much_cpu_time_is_rejected_and_the_next_one_is_not(settings: Any) -> None:
    settings.VERIFICATION_CPU_SECONDS = 1
    files = [heavy_archive(str(number)) for number in range(30)]
    [(code, field)] = codes(described(*files), on_disk(*files))
    assert (code, field.startswith("pipeline-release.json#artifacts[")) == ("ARTIFACT_CPU_EXCEEDED", True)
    assert codes(described(DATA), on_disk(DATA)) == []


def test_the_time_that_the_store_takes_does_not_count(settings: Any) -> None:
    settings.VERIFICATION_SECONDS = 1
    files = [making.archive(CONTRACT, code=str(number)) for number in range(2)]
    assert codes(described(*files), on_disk(*files, before=lambda: time.sleep(0.6))) == []


def test_an_artifact_that_takes_too_much_memory_is_rejected(settings: Any) -> None:
    settings.VERIFICATION_MEMORY_BYTES = 80 * 1024**2
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo(CONTRACT_ENTRY), b"{}")
        for number in range(20_000):
            file.writestr(zipfile.ZipInfo(f"{number:01000}"), b"")
    data = buffer.getvalue()
    assert codes(described(data), on_disk(data)) == [("ARTIFACT_MEMORY_EXCEEDED", "pipeline-release.json#artifacts[0]")]
    settings.VERIFICATION_MEMORY_BYTES = 1024**3
    assert codes(described(DATA), on_disk(DATA)) == []


def test_a_release_is_rejected_after_three_children_died_and_not_after_one() -> None:
    assert codes(described(DATA), on_disk(DATA)) == []  # no child of an earlier test is about to die
    deaths: list[None] = []

    def kill() -> None:
        deaths.append(None)
        kill_all()

    [finding] = verify(described(DATA), on_disk(DATA, before=kill)).findings
    assert (finding.code, finding.field) == ("ARTIFACT_NOT_VERIFIABLE", "pipeline-release.json#artifacts[0]")
    assert ("SIGKILL" in finding.message, len(deaths)) == (True, 3)
    assert codes(described(DATA), on_disk(DATA, before=lambda: kill() if len(deaths) == 3 else None)) == []
    kill_all()
    assert codes(described(DATA), on_disk(DATA)) == [], "killed idle children are replaced"


def test_a_child_that_hangs_is_killed(settings: Any) -> None:
    settings.VERIFICATION_SECONDS = 1

    def stop() -> None:
        for pid in verification_processes():
            os.kill(pid, signal.SIGSTOP)

    waited: list[None] = []
    verdict = verify(described(DATA), on_disk(DATA, before=stop), while_waiting=lambda: waited.append(None))
    assert [finding.code for finding in verdict.findings] == ["ARTIFACT_NOT_VERIFIABLE"]
    assert waited
    assert verification_processes() == []


def test_a_child_holds_no_secret_and_no_connection() -> None:
    children: list[tuple[set[str], list[str], str, str]] = []

    def look() -> None:
        for pid in verification_processes():
            place = Path(f"/proc/{pid}")
            names = {variable.partition("=")[0] for variable in (place / "environ").read_text().split("\0") if variable}
            files = [str(link.readlink()) for link in (place / "fd").iterdir()]
            children.append((names, files, (place / "limits").read_text(), (place / "stat").read_text()))

    kill_all()
    assert codes(described(DATA), on_disk(DATA, before=look)) == []
    [(names, files, limits, stat)] = children
    assert names <= {"PATH", "PYTHONPATH", "TMPDIR", "LC_CTYPE"}
    assert len([file for file in files if file.startswith("socket:")]) <= 2, files
    soft = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert (soft["Max core file size"], soft["Max processes"], soft["Max open files"]) == ("0", "0", "32")
    assert int(soft["Max file size"]) == DEFAULT_LIMITS.inner_bytes
    assert soft["Max address space"] == str(1024**3)
    assert int(soft["Max cpu time"]) < 70
    nice = int(stat.rpartition(")")[2].split()[16])
    assert nice - os.getpriority(os.PRIO_PROCESS, 0) == 10


def test_only_so_many_children_wait_for_the_next_release(settings: Any) -> None:
    settings.VERIFICATION_PROCESSES = 1
    kill_all()

    def another() -> None:
        assert codes(described(DATA), on_disk(DATA)) == []

    assert codes(described(DATA), on_disk(DATA, before=another)) == []
    assert len(verification_processes()) == 1


def test_a_child_whose_release_was_broken_off_serves_no_other() -> None:
    """The child still waits for the file of the first release, and would mistake that of the next release for it."""
    kill_all()
    children: list[int] = []

    def away() -> None:
        children.extend(verification_processes())
        raise ArtifactStoreUnavailable("away")

    with pytest.raises(ArtifactStoreUnavailable):
        verify(described(DATA), on_disk(DATA, before=away))
    assert len(children) == 1
    assert verification_processes() == []
    assert codes(described(DATA), on_disk(DATA)) == []
