"""What only the store on one host's disk can promise."""

import os
import stat
from typing import Any

import pytest

from releases.artifact_store import LocalArtifactStore, artifact_store
from releases.errors import ArtifactStoreUnavailable
from tests.making import digest_of
from tests.releases.artifact_store.bench import LocalBench

DATA = b"some bytes" * 10_000
DIGEST = digest_of(DATA)


def test_the_settings_name_the_store(settings: Any) -> None:
    store = artifact_store()
    assert isinstance(store, LocalArtifactStore)
    assert store.root == settings.ARTIFACT_ROOT


def test_a_blob_is_read_only_and_is_not_touched_by_another_upload(local: LocalBench) -> None:
    local.keep(DATA)
    before = local.store.path(DIGEST).stat()
    assert stat.S_IMODE(before.st_mode) == 0o400
    local.keep(DATA)
    after = local.store.path(DIGEST).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_change_that_sets_the_times_back_shows_all_the_same(local: LocalBench) -> None:
    before = local.keep(DATA)
    file = local.store.path(DIGEST)
    times = file.stat()
    local.overwrite(DIGEST, DATA[::-1])
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    seen = local.store.look(DIGEST)
    assert seen is not None
    assert seen.fingerprint != before


def test_a_directory_where_a_blob_belongs_is_an_error_and_not_a_missing_blob(local: LocalBench) -> None:
    """Somebody must look: calling it missing would have the next upload fail in a rename that nobody expects."""
    local.store.path(DIGEST).mkdir(parents=True)
    with pytest.raises(ArtifactStoreUnavailable, match="directory"):
        local.keep(DATA)
