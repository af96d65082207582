"""The content-addressed store: bytes land whole under their own digest, once, and are never written over."""

import os
import stat
import threading
from pathlib import Path

import pytest
from django.conf import settings

from coordinator.errors import PayloadTooLarge
from releases.artifact_store import LocalArtifactStore, artifact_store
from tests.making import digest_of

DATA = b"some bytes" * 10_000


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    return LocalArtifactStore(tmp_path / "store")


def keep(store: LocalArtifactStore, data: bytes) -> str:
    staged = store.stage(limit=10**9)
    staged.write(data)
    return staged.keep()


def files(store: LocalArtifactStore) -> list[Path]:
    return sorted(path for path in store.root.rglob("*") if path.is_file())


def test_the_settings_name_the_store() -> None:
    assert artifact_store().root == settings.ARTIFACT_ROOT


def test_bytes_land_at_their_digest_read_only_and_nothing_is_left_in_staging(store: LocalArtifactStore) -> None:
    staged = store.stage(limit=len(DATA))
    for start in range(0, len(DATA), 997):
        staged.write(DATA[start : start + 997])
    assert (staged.digest, staged.size) == (digest_of(DATA), len(DATA))
    assert files(store) == [staged.path]

    fingerprint = staged.keep()
    hexadecimal = digest_of(DATA).removeprefix("sha256:")
    [file] = files(store)
    assert file == store.root / "sha256" / hexadecimal[:2] / hexadecimal
    assert file.read_bytes() == DATA
    assert stat.S_IMODE(file.stat().st_mode) == 0o444
    assert fingerprint == store.fingerprint(digest_of(DATA)) == store.verified_fingerprint(digest_of(DATA))


def test_no_bytes_at_all_are_a_blob_too(store: LocalArtifactStore) -> None:
    assert keep(store, b"") == store.fingerprint(digest_of(b""))


def test_staged_bytes_are_nobody_elses_to_read(store: LocalArtifactStore) -> None:
    staged = store.stage(limit=1)
    assert stat.S_IMODE(staged.path.stat().st_mode) == 0o600
    staged.discard()


def test_what_is_there_already_is_verified_and_not_written_again(store: LocalArtifactStore) -> None:
    first = keep(store, DATA)
    before = store.path(digest_of(DATA)).stat()
    assert keep(store, DATA) == first
    after = store.path(digest_of(DATA)).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(files(store)) == 1


@pytest.mark.parametrize("damage", [b"", b"other", DATA[:-1] + b"x"])
def test_a_damaged_blob_is_replaced_by_the_next_upload_of_its_bytes(store: LocalArtifactStore, damage: bytes) -> None:
    old = keep(store, DATA)
    file = store.path(digest_of(DATA))
    file.chmod(0o644)
    file.write_bytes(damage)
    assert store.verified_fingerprint(digest_of(DATA)) is None

    new = keep(store, DATA)
    assert new != old
    assert file.read_bytes() == DATA
    assert files(store) == [file]


def test_one_byte_too_many_is_refused_before_it_is_written(store: LocalArtifactStore) -> None:
    staged = store.stage(limit=10)
    staged.write(b"0123456789")
    with pytest.raises(PayloadTooLarge) as caught:
        staged.write(b"x")
    assert caught.value.data == {"limit": 10}
    staged.discard()
    assert files(store) == []


def test_discarding_is_harmless_at_any_time(store: LocalArtifactStore) -> None:
    discarded, kept = store.stage(limit=10), store.stage(limit=10)
    discarded.write(b"a")
    discarded.discard()
    discarded.discard()
    kept.write(b"b")
    kept.keep()
    kept.discard()
    assert files(store) == [store.path(digest_of(b"b"))]


def test_many_writers_of_the_same_bytes_leave_one_whole_blob(store: LocalArtifactStore) -> None:
    count = 16
    barrier = threading.Barrier(count)
    kept: list[str] = []
    torn: list[bytes] = []

    def write() -> None:
        staged = store.stage(limit=10**9)
        staged.write(DATA)
        barrier.wait(10)
        kept.append(staged.keep())
        file = store.open(digest_of(DATA))
        assert file is not None
        with file:
            if file.read() != DATA:
                torn.append(DATA)

    writers = [threading.Thread(target=write) for _ in range(count)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert (len(kept), torn) == (count, [])
    assert files(store) == [store.path(digest_of(DATA))]
    assert store.verified_fingerprint(digest_of(DATA)) is not None


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        "sha256:../../../etc/passwd",
        "sha256:" + "../" * 21 + "x",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 63 + "/",
        "sha256:" + "0" * 63 + "\n",
        "md5:" + "0" * 64,
        "sha256:sha256:" + "0" * 64,
    ],
)
def test_only_a_digest_names_a_path(store: LocalArtifactStore, digest: str) -> None:
    for use in (store.path, store.open, store.fingerprint, store.verified_fingerprint):
        with pytest.raises(ValueError, match="not a sha256 digest"):
            use(digest)


def test_what_is_not_there_is_none_and_no_error(store: LocalArtifactStore) -> None:
    digest = digest_of(b"nowhere")
    assert (store.open(digest), store.fingerprint(digest), store.verified_fingerprint(digest)) == (None, None, None)


def test_any_change_shows_in_the_fingerprint_even_one_that_sets_the_times_back(store: LocalArtifactStore) -> None:
    before = keep(store, DATA)
    file = store.path(digest_of(DATA))
    times = file.stat()
    file.chmod(0o644)
    file.write_bytes(DATA[::-1])
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    assert store.fingerprint(digest_of(DATA)) != before


def test_a_directory_where_a_blob_belongs_is_an_error_and_not_a_missing_blob(store: LocalArtifactStore) -> None:
    """Somebody must look: calling it missing would have the next upload fail in a rename that nobody expects."""
    store.path(digest_of(DATA)).mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        keep(store, DATA)
