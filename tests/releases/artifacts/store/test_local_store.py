import os
import stat
from functools import partial
from pathlib import Path

import pytest

from releases.artifacts.local_store import LocalArtifactStore
from releases.artifacts.store import staging_folder
from releases.errors import ArtifactStoreUnavailable
from tests.making import digest_of
from tests.releases.artifacts.store.bench import LocalBench

DATA = b"some bytes" * 10_000
DIGEST = digest_of(DATA)


def test_a_blob_is_read_only_and_is_not_touched_by_another_upload(local: LocalBench) -> None:
    local.keep(DATA)
    before = local.store.file(DIGEST).stat()
    assert stat.S_IMODE(before.st_mode) == 0o400
    local.keep(DATA)
    after = local.store.file(DIGEST).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_change_that_resets_the_times_changes_the_fingerprint(local: LocalBench) -> None:
    before = local.keep(DATA)
    file = local.store.file(DIGEST)
    times = file.stat()
    local.overwrite(DIGEST, DATA[::-1])
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = local.store.stat(DIGEST)
    assert after is not None
    assert after.fingerprint != before


def test_bytes_and_names_are_on_the_disk_when_they_are_kept(local: LocalBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power failure, the digest names either the whole file or no file."""
    synced: list[Path] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    staged = local.store.stage(limit=10**9)
    staged.write(DATA)
    inode = staged.path.stat().st_ino
    staged.keep()
    root, path = local.store.root, local.store.file(DIGEST)
    assert path.stat().st_ino == inode, "a rename, during which readers see the whole file or none"
    assert synced[0].parent == local.store.staging, "the bytes come first, under another name"
    assert set(synced[1:]) == {path.parent, path.parent.parent, root}


def test_bytes_that_change_while_they_are_hashed_are_not_verified(local: LocalBench) -> None:
    """The writer may put correct bytes where the hash reads next, and wrong bytes where it has already read."""
    local.keep(DATA)
    path = local.store.file(DIGEST)
    path.chmod(0o600)
    with pytest.raises(ArtifactStoreUnavailable):
        local.store.verified(DIGEST, lambda: path.write_bytes(DATA))


def test_only_the_coordinators_account_may_use_its_files(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(partial(os.umask, os.umask(0)))
    store = LocalArtifactStore(tmp_path / "data" / "artifacts")
    store.set_up()
    for data in (b"kept", b"bad"):
        staged = store.stage(limit=10)
        staged.write(data)
        staged.keep()
    LocalBench(store).overwrite(digest_of(b"bad"), b"worse")
    store.file(digest_of(b"bad")).chmod(0o400)
    store.quarantine(digest_of(b"bad"))
    growing = store.stage(limit=10)
    staging_folder(tmp_path / "scratch" / "staging")
    paths = [*(tmp_path / "data").rglob("*"), *(tmp_path / "scratch").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()} == {0o600, 0o400}
    growing.discard()


def test_a_store_whose_disk_is_not_mounted_reports_no_blob_as_missing_and_accepts_none(local: LocalBench) -> None:
    local.keep(DATA)
    store, elsewhere = local.store, local.store.root.with_name("disk")
    staged = store.stage(limit=10**9)
    staged.write(b"more")
    local.store.root.rename(elsewhere)
    local.store.root.mkdir()
    for use in (
        *(partial(call, DIGEST) for call in (store.read, store.stat, store.verified, store.remove, store.quarantine)),
        lambda: list(store.list()),
        lambda: store.stage(limit=1),
        staged.keep,
    ):
        with pytest.raises(ArtifactStoreUnavailable, match="Is the disk mounted"):
            use()
        assert list(store.root.iterdir()) == []
    staged.discard()
    store.root.rmdir()
    elsewhere.rename(store.root)
