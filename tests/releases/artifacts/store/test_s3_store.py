"""What holds for the store on S3 alone."""

import base64
import hashlib
from io import BytesIO
from pathlib import Path

import pytest

from tests.making import digest_of
from tests.releases.artifacts.store.bench import S3Bench

DATA = b"some bytes" * 1_000
DIGEST = digest_of(DATA)


def test_only_complete_bytes_are_saved_and_with_the_options_and_checksum(s3: S3Bench, tmp_path: Path) -> None:
    store = s3.place.store(tmp_path, object_parameters={"Metadata": {"team": "releases"}})
    with pytest.raises(NotImplementedError):
        store.save(store.key(DIGEST), BytesIO(DATA))
    staged = store.stage(limit=len(DATA))
    staged.write(DATA)
    staged.keep()
    head = s3.client.head_object(Bucket=s3.place.bucket, Key=store.key(DIGEST), ChecksumMode="ENABLED")
    assert head["Metadata"] == {"team": "releases"}
    assert base64.b64decode(head["ChecksumSHA256"]) == hashlib.sha256(DATA).digest()
