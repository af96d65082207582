"""What holds for every store on a server: failures of the server and the network are never a verdict on a blob."""

from pathlib import Path
from typing import Any

import pytest

from releases.errors import ArtifactStoreUnavailable
from tests.making import digest_of
from tests.releases.artifacts.store.bench import RemoteBench

DATA = b"some bytes" * 300_000
DIGEST = digest_of(DATA)


def unavailable(use: Any, *arguments: Any) -> str:
    with pytest.raises(ArtifactStoreUnavailable) as caught:
        use(*arguments)
    return caught.value.detail


def test_an_object_that_another_process_created_first_is_kept(remote: RemoteBench) -> None:
    """The loser of a race reads the winner's object, here known by its metadata, and does not write it again."""
    staged = remote.store.stage(limit=10**9)
    staged.write(DATA)
    staged.sync()
    remote.label(DIGEST, DATA)
    staged.keep()
    assert remote.labelled(DIGEST)


def test_a_missing_bucket_is_not_a_missing_blob(remote: RemoteBench, tmp_path: Path) -> None:
    store = remote.elsewhere(tmp_path / "elsewhere")
    for use in (store.stat, store.verified, store.read, store.remove, store.quarantine):
        message = unavailable(use, DIGEST)
        assert message.startswith("The artifact store refused: ")
        assert "no-such-bucket" not in message
    staged = store.stage(limit=100)
    staged.write(b"bytes")
    unavailable(staged.keep)
    unavailable(lambda: list(store.list()))
