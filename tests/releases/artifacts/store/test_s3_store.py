"""Failures of the server and the network are never a verdict on a blob. The server verifies what it receives."""

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from releases.errors import ArtifactStoreUnavailable
from tests.cases import cases
from tests.making import digest_of
from tests.releases.artifacts.store.bench import S3Bench

DATA = b"some bytes" * 300_000
DIGEST = digest_of(DATA)


def unavailable(use: Any, *arguments: Any) -> str:
    with pytest.raises(ArtifactStoreUnavailable) as caught:
        use(*arguments)
    return caught.value.detail


def test_no_secret_is_in_what_describes_the_store(s3: S3Bench) -> None:
    assert s3.place.secret_access_key not in repr(s3.store)
    assert s3.place.access_key_id not in repr(s3.store)


def test_the_server_stores_the_checksum_and_rejects_bytes_with_another_one(s3: S3Bench) -> None:
    s3.keep(DATA)
    key = {"Bucket": s3.place.bucket, "Key": s3.store.key(DIGEST)}
    head = s3.client.head_object(**key, ChecksumMode="ENABLED")
    assert base64.b64decode(head["ChecksumSHA256"]) == hashlib.sha256(DATA).digest()
    with pytest.raises(ClientError, match="BadDigest"):
        s3.client.put_object(**key, Body=b"other", ChecksumSHA256=head["ChecksumSHA256"])
    assert s3.read(DIGEST) == DATA


@cases(
    ("change", "code"),
    [
        ({"secret_access_key": "wrong-and-secret"}, "SignatureDoesNotMatch"),
        ({"bucket": "no-such-bucket"}, "NoSuchBucket"),
    ],
)
def test_a_refusal_is_reported_by_its_code_alone(
    s3: S3Bench, tmp_path: Path, change: dict[str, Any], code: str
) -> None:
    s3.keep(DATA)
    stranger = replace(s3.place, **change).store(tmp_path / "stranger")
    for use in (stranger.verified, stranger.read):
        assert unavailable(use, DIGEST) == f"The artifact store refused: {code}."
    messages = unavailable(stranger.stat, DIGEST)  # the response to HEAD has only a status
    staged = stranger.stage(limit=100)
    staged.write(b"bytes")
    messages += unavailable(staged.keep)
    assert not any(secret in messages for secret in change.values())
