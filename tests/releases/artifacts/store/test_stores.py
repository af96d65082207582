import base64
import hashlib
import os
import re
import stat
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import PayloadTooLarge
from releases.artifacts.retention import left_over
from releases.artifacts.store import BlobStat
from releases.errors import ArtifactStoreUnavailable
from tests.making import digest_of
from tests.releases.artifacts.store.bench import Bench, RemoteBench, S3Bench

DATA = b"some bytes" * 10_000
DIGEST = digest_of(DATA)
LARGE = bytes(range(256)) * 20_000
"""More than two of the ranges in which a remote store fetches a part."""


def staged_files(bench: Bench) -> list[str]:
    return [path.name for path in bench.store.staging.iterdir()]


def test_bytes_are_stored_under_their_digest_once_and_nothing_remains_in_staging(bench: Bench) -> None:
    staged = bench.store.stage(limit=len(DATA))
    assert stat.S_IMODE(staged.path.stat().st_mode) == 0o600
    for start in range(0, len(DATA), 997):
        staged.write(DATA[start : start + 997])
    assert (staged.digest, staged.size, bench.everything()) == (DIGEST, len(DATA), set())
    fingerprint = staged.keep()
    [place] = bench.everything()
    assert re.fullmatch(r"sha256/(..|.{0})/?" + DIGEST.removeprefix("sha256:"), place)
    assert bench.read(DIGEST) == DATA
    assert bench.store.stat(DIGEST) == bench.store.verified(DIGEST) == BlobStat(len(DATA), fingerprint)
    assert bench.keep(DATA) == fingerprint
    assert (len(bench.everything()), staged_files(bench)) == (1, [])
    bench.store.remove(DIGEST)
    assert bench.everything() == set()


def test_content_of_any_size_is_read_back_unchanged(bench: Bench) -> None:
    for data in (b"", LARGE):
        bench.keep(data)
        file = bench.store.read(digest_of(data))
        assert file is not None
        with file:
            assert file.read() == data
            file.seek(len(data) // 2)
            assert file.read() == data[len(data) // 2 :]
    assert staged_files(bench) == []


def test_altered_bytes_are_detected_and_the_next_upload_replaces_them(bench: Bench) -> None:
    before = bench.keep(DATA)
    for damage in (DATA[:-1], DATA[::-1]):
        bench.overwrite(DIGEST, damage)
        assert bench.store.verified(DIGEST) is None
        measured = bench.store.stat(DIGEST)
        assert measured is not None
        assert (measured.size, measured.fingerprint == before) == (len(damage), False)
        before = bench.keep(DATA)
        assert bench.read(DIGEST) == DATA
        assert bench.store.verified(DIGEST) == BlobStat(len(DATA), before)
        assert len(bench.everything()) == 1


def test_bytes_beyond_the_limit_are_rejected_before_they_are_written(bench: Bench) -> None:
    staged = bench.store.stage(limit=10)
    staged.write(b"0123456789")
    with pytest.raises(PayloadTooLarge) as caught:
        staged.write(b"x")
    assert caught.value.data == {"limit": 10}
    staged.discard()
    assert (bench.everything(), staged_files(bench)) == (set(), [])


def test_only_a_digest_names_a_blob(bench: Bench) -> None:
    store = bench.store
    for digest in ("sha256:../../etc/passwd", f"sha256:{'0' * 63}", f"sha256:{'A' * 64}", f"md5:{'0' * 64}", "0" * 64):
        for use in (store.read, store.stat, store.verified, store.remove, store.quarantine):
            with pytest.raises(ValueError, match="not a sha256 digest"):
                use(digest)


def test_a_missing_blob_is_none_and_no_error(bench: Bench) -> None:
    store, digest = bench.store, digest_of(b"nowhere")
    assert (store.read(digest), store.stat(digest), store.verified(digest)) == (None, None, None)
    assert store.quarantine(digest) is None
    store.remove(digest)
    assert list(store.list()) == []


def test_the_list_contains_every_blob_and_nothing_else(bench: Bench) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    bodies = [bytes([number]) * number for number in range(1, 5)]
    for data in bodies:
        bench.keep(data)
    with pytest.raises(ArtifactStoreUnavailable):
        bench.store.quarantine(digest_of(bodies[-1]))
    bench.overwrite(digest_of(bodies[-1]), b"damage")
    bench.store.quarantine(digest_of(bodies[-1]))
    listed = list(bench.store.list())
    assert [stored.digest for stored in listed] == sorted(digest_of(data) for data in bodies[:-1])
    assert sorted(stored.size for stored in listed) == [1, 2, 3]
    assert all(before < stored.modified_at < datetime.now(UTC) + timedelta(seconds=5) for stored in listed)


def test_an_unavailable_store_never_reports_a_blob_as_missing_or_wrong(bench: Bench) -> None:
    staged = bench.store.stage(limit=100)
    staged.write(b"bytes")
    bench.keep(DATA)
    bench.break_down()
    store = bench.store
    for use in (store.read, store.stat, store.verified):
        with pytest.raises(ArtifactStoreUnavailable) as caught:
            use(DIGEST)
        assert str(store.staging.parent) not in caught.value.detail
    with pytest.raises(ArtifactStoreUnavailable):
        bench.keep(b"more")
    staged.discard()


def test_staged_files_of_killed_processes_are_distinguished_from_uploads_in_progress(bench: Bench) -> None:
    old, new = bench.store.stage(limit=10), bench.store.stage(limit=10)
    (bench.store.staging / "folder").mkdir()
    for path in (old.path, bench.store.staging / "folder"):
        os.utime(path, (0, 0))
    assert [left.path for left in left_over(bench.store.staging, datetime(2000, 1, 1, tzinfo=UTC))] == [old.path]
    for staged in (old, new):
        staged.discard()


MANY = b"some bytes" * 300_000
MANY_DIGEST = digest_of(MANY)
FEW = b"some bytes" * 1_000
FEW_DIGEST = digest_of(FEW)


def unavailable(use: Any, *arguments: Any) -> str:
    with pytest.raises(ArtifactStoreUnavailable) as caught:
        use(*arguments)
    return caught.value.detail


def test_an_object_that_another_process_created_first_is_kept(remote: RemoteBench) -> None:
    """The loser of a race reads the winner's object, here known by its metadata, and does not write it again."""
    staged = remote.store.stage(limit=10**9)
    staged.write(MANY)
    staged.sync()
    remote.label(MANY_DIGEST, MANY)
    staged.keep()
    assert remote.labelled(MANY_DIGEST)


def test_a_missing_bucket_is_not_a_missing_blob(remote: RemoteBench, tmp_path: Path) -> None:
    store = remote.elsewhere(tmp_path / "elsewhere")
    for use in (store.stat, store.verified, store.read, store.remove, store.quarantine):
        message = unavailable(use, MANY_DIGEST)
        assert message.startswith("The artifact store refused: ")
        assert "no-such-bucket" not in message
    staged = store.stage(limit=100)
    staged.write(b"bytes")
    unavailable(staged.keep)
    unavailable(lambda: list(store.list()))


def test_only_complete_bytes_are_saved_and_with_the_options_and_checksum(s3: S3Bench, tmp_path: Path) -> None:
    store = s3.place.store(tmp_path, object_parameters={"Metadata": {"team": "releases"}})
    with pytest.raises(NotImplementedError):
        store.save(store.key(FEW_DIGEST), BytesIO(FEW))
    staged = store.stage(limit=len(FEW))
    staged.write(FEW)
    staged.keep()
    head = s3.client.head_object(Bucket=s3.place.bucket, Key=store.key(FEW_DIGEST), ChecksumMode="ENABLED")
    assert head["Metadata"] == {"team": "releases"}
    assert base64.b64decode(head["ChecksumSHA256"]) == hashlib.sha256(FEW).digest()
