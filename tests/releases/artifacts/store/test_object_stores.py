"""What holds for every store on a server, and for the one on S3. Failures of a server are no verdict on a blob."""

import base64
import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from releases.errors import ArtifactStoreUnavailable
from tests.making import digest_of
from tests.releases.artifacts.store.bench import RemoteBench, S3Bench

DATA = b"some bytes" * 300_000
DIGEST = digest_of(DATA)
FEW = b"some bytes" * 1_000
FEW_DIGEST = digest_of(FEW)


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
