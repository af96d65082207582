import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator_client.api import Client, Connection
from coordinator_client.errors import ClientError
from pipelines.authoring.compiler import compile_contract, load
from pipelines.errors import DefinitionError
from pipelines.release.packaging import artifact_digest
from pipelines.release.publish import of_client
from pipelines.worker.artifact import fetched, unpack_release
from tests import making
from tests.http_server import HttpServer, Request, head
from tests.raising import error_of
from tests.receiving import Received
from tests.unit.pipelines.conftest import change_descriptor
from tests.unit.pipelines.worker.conftest import SOURCE, Hosted, released
from tests.unit.pipelines.worker.hosting_process import packed
from wire.documents.contract import PYTHON_ENTRY


def test_code_that_is_one_of_two_artifacts_is_hosted_under_the_name_of_that_artifact(hosted: Hosted) -> None:
    original = hosted.descriptor.read_text()
    mine = json.loads(original)["artifacts"][0]
    for kind in ("local-file", "container-image"):
        other = {"artifactId": "other", "kind": kind, "uri": "other", "digest": "sha256:" + "1" * 64}
        document = json.loads(original)
        document["artifacts"].insert(0, other)
        hosted.descriptor.write_text(json.dumps(document))
        pin = hosted.host().release
        assert (pin.artifact_id, pin.artifact_digest) == (mine["artifactId"], mine["digest"])
        assert (pin.identity.tenant_id, pin.identity.pipeline_id) == ("acme", "tests.hosted")
        assert (pin.identity.contract_version, pin.identity.release_version) == (document["contractVersion"], "1.0")


def test_a_release_of_anything_else_is_refused(hosted: Hosted, subtests: pytest.Subtests) -> None:
    original = hosted.descriptor.read_text()
    for change, code in (
        ({"pipelineId": "tests.other"}, "PIPELINE_MISMATCH"),
        ({"contractVersion": "sha256:" + "0" * 64}, "CONTRACT_MISMATCH"),
        ({"artifact": {"digest": "sha256:" + "0" * 64}}, "ARTIFACT_MISMATCH"),
        ({"artifact": {"digest": "sha256:short"}}, "INVALID_RELEASE"),
    ):
        with subtests.test(code):
            hosted.descriptor.write_text(original)
            change_descriptor(hosted.descriptor, **change)
            assert error_of(DefinitionError, hosted.host).code == code
    hosted.descriptor.write_text(original)
    source = hosted.folder / f"{hosted.module}.py"
    source.write_text(source.read_text().replace("* 10", "* 11"))
    changed = error_of(DefinitionError, hosted.host).code
    assert changed == "ARTIFACT_MISMATCH", "the body is another one, although its contract is the same"
    hosted.descriptor.unlink()
    assert error_of(DefinitionError, hosted.host).code == "INVALID_RELEASE"


def test_a_release_that_pins_no_bytes_is_checked_by_its_contract_only(hosted: Hosted) -> None:
    change_descriptor(hosted.descriptor, {"kind": "container-image", "digest": "sha256:" + "1" * 64})
    release = hosted.host().release
    assert (release.artifact_id, release.artifact_digest) == ("", "")


def test_a_release_from_before_contracts_had_constraints_is_hosted(tmp_path: Path) -> None:
    with released(tmp_path, SOURCE.replace("number: int", "number: int = 5")) as hosted:
        pipeline = load(hosted.reference)
        earlier = compile_contract(pipeline, constraints=False)
        assert earlier["contractVersion"] != compile_contract(pipeline)["contractVersion"]
        digest = artifact_digest(pipeline, contract=earlier)
        change_descriptor(hosted.descriptor, {"digest": digest}, contractVersion=earlier["contractVersion"])
        assert hosted.host().release.identity.contract_version == earlier["contractVersion"]


@pytest.fixture
def descriptor(tmp_path: Path) -> Path:
    return packed(tmp_path, {})


def artifact_of(descriptor: Path) -> Path:
    [artifact] = descriptor.parent.glob("*.zip")
    return artifact


def refusal_to_unpack(descriptor: Path, artifact: Path | None = None) -> str:
    return error_of(DefinitionError, unpack_release, descriptor, artifact).code


def pin(descriptor: Path) -> None:
    digest = hashlib.sha256(artifact_of(descriptor).read_bytes()).hexdigest()
    change_descriptor(descriptor, {"digest": f"sha256:{digest}"})


def test_exactly_the_pinned_bytes_are_unpacked_into_a_private_folder(descriptor: Path, tmp_path: Path) -> None:
    artifact = artifact_of(descriptor)
    with zipfile.ZipFile(artifact) as archive:
        names = archive.namelist()
    for moved in (artifact, tmp_path / "moved"):
        artifact.rename(moved)
        unpacked = unpack_release(descriptor, None if moved == artifact else moved)
        assert unpacked.files == {
            str(unpacked.folder / name): hashlib.sha256((unpacked.folder / name).read_bytes()).hexdigest()
            for name in names
        }
        assert unpacked.folder.stat().st_mode & 0o777 == 0o700
        assert unpacked.pipeline == "shop.flow:pipeline"
    assert refusal_to_unpack(descriptor) == "NO_ARTIFACT"
    artifact.write_bytes(moved.read_bytes() + b"x")
    assert refusal_to_unpack(descriptor) == "ARTIFACT_MISMATCH"


def test_an_artifact_outside_of_the_folder_is_not_opened_without_an_option(descriptor: Path) -> None:
    change_descriptor(descriptor, {"uri": "../elsewhere.zip"})
    assert refusal_to_unpack(descriptor) == "NO_ARTIFACT"
    change_descriptor(descriptor, {"kind": "container-image", "uri": "registry/image"})  # which pins no code
    assert refusal_to_unpack(descriptor) == "NO_ARTIFACT"
    assert refusal_to_unpack(descriptor, artifact_of(descriptor)) == "ARTIFACT_MISMATCH"


def test_a_file_without_the_entries_that_a_worker_needs_is_refused(descriptor: Path) -> None:
    artifact = artifact_of(descriptor)
    with zipfile.ZipFile(artifact) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(artifact, "w") as archive:
        for name, content in entries.items():
            if name != PYTHON_ENTRY:
                archive.writestr(name, content)
    pin(descriptor)
    assert refusal_to_unpack(descriptor) == "NOT_AN_ARTIFACT"
    artifact.write_bytes(b"PK\x03\x04 cut short")
    pin(descriptor)
    assert refusal_to_unpack(descriptor) == "NOT_AN_ARTIFACT"


BYTES = os.urandom(1_000_000)
DIGEST = f"sha256:{hashlib.sha256(BYTES).hexdigest()}"
CHUNK = 16 * 1024


class Coordinator(HttpServer):
    """Serves BYTES. Each request takes the next of `faults`; without one, it gets the range that it asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Received] = []
        self.faults: list[dict[str, Any]] = []

    def respond(self, request: Request) -> None:
        self.requests.append(Received(request.command, request.path, dict(request.headers), b""))
        fault = self.faults.pop(0) if self.faults else {}
        begin, shift = request.headers.get("Range", ""), fault.get("shift", 0)
        start = int(begin[6:-1]) if begin and "status" not in fault else 0
        body = fault.get("body", BYTES[start + shift :])
        length = {} if fault.get("is_undeclared") else {"Content-Length": str(len(body))}
        part = {"Content-Range": f"bytes {start + shift}-{len(BYTES) - 1}/{len(BYTES)}"} if start else {}
        head(request, fault.get("status", 206 if start else 200), length | part)
        request.wfile.write(body[: fault.get("cut")])


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    with Coordinator().running() as made:
        yield made


def pinning(folder: Path, *artifacts: dict[str, str], **members: str) -> Path:
    document = making.descriptor({"pipelineId": "org.example.orders", "contractVersion": "c"}, BYTES, **members)
    document["artifacts"] = list(artifacts) or document["artifacts"]
    path = folder / "pipeline-release.json"
    path.write_text(json.dumps(document))
    return path


def fetch(folder: Path, coordinator: Coordinator, *faults: dict[str, Any], seconds: float = 20) -> bytes:
    coordinator.faults = list(faults)
    client = Client(Connection(coordinator.origin, "acme", "dc_secret"))
    try:
        with fetched(pinning(folder), client, seconds=seconds) as path:
            return path.read_bytes()
    except ClientError as error:
        raise of_client(error) from None


def failure(folder: Path, coordinator: Coordinator, *faults: dict[str, Any]) -> DefinitionError:
    refused = error_of(DefinitionError, fetch, folder, coordinator, *faults, seconds=0.2)
    assert "dc_secret" not in str(refused)
    return refused


def test_the_artifact_is_downloaded_by_its_digest_with_the_token(coordinator: Coordinator, tmp_path: Path) -> None:
    """The file is private and exists only within the block. Of several artifacts, it is that of the carrier."""
    app = {"artifactId": "app", "kind": "application-archive", "uri": "maven:org.acme:app:zip:1.0", "digest": DIGEST}
    other = {"artifactId": "other", "kind": "jar", "uri": "maven:org.acme:other:1.0", "digest": f"sha256:{'1' * 64}"}
    release = pinning(tmp_path, other, app, compiledTruthArtifactId="app")
    with fetched(release, Client(Connection(coordinator.origin, "a/b", "dc_secret"))) as path:
        assert path.read_bytes() == BYTES
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.parent.exists()
    [sent] = coordinator.requests
    assert sent.path == f"/api/v1/tenants/a%2Fb/artifacts/{DIGEST}"
    assert (sent.headers["Authorization"], sent.headers["Accept-Encoding"]) == ("Bearer dc_secret", "identity")


def test_a_broken_download_continues_where_it_broke_off(coordinator: Coordinator, tmp_path: Path) -> None:
    assert fetch(tmp_path, coordinator, {"cut": 20 * CHUNK + 1}, {"status": 503}, {"cut": 10 * CHUNK}) == BYTES
    ranges = [sent.headers.get("Range") for sent in coordinator.requests]
    assert ranges == [None, *(f"bytes={begin + 1}-" for begin in (20 * CHUNK, 20 * CHUNK, 30 * CHUNK))]
    assert {sent.headers["If-Range"] for sent in coordinator.requests[1:]} == {f'"{DIGEST}"'}
    assert fetch(tmp_path, coordinator, {"cut": 300_000}, {"status": 200}) == BYTES, "all bytes again"
    assert fetch(tmp_path, coordinator, {"is_undeclared": True}) == BYTES, "a body without a length"


def test_other_bytes_than_the_descriptor_pins_are_refused(coordinator: Coordinator, tmp_path: Path) -> None:
    for other in ({"is_undeclared": True, "cut": 300_000}, {"body": BYTES[:-1] + bytes([BYTES[-1] ^ 1])}):
        assert failure(tmp_path, coordinator, other).code == "ARTIFACT_MISMATCH"
    assert failure(tmp_path, coordinator, {"cut": 300_000}, {"shift": 1}).code == "COORDINATOR_REFUSED"
    coordinator.requests.clear()
    assert failure(tmp_path, coordinator, {"status": 403}).code == "COORDINATOR_REFUSED"
    assert len(coordinator.requests) == 1, "a refusal is final"
