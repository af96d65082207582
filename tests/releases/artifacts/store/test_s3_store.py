"""What only the store on S3 guarantees."""

import base64
import hashlib

from tests.making import digest_of
from tests.releases.artifacts.store.bench import S3Bench

DATA = b"some bytes" * 300_000
DIGEST = digest_of(DATA)


def test_no_secret_is_in_what_describes_the_store(s3: S3Bench) -> None:
    assert s3.place.secret_access_key not in repr(s3.store)
    assert s3.place.access_key_id not in repr(s3.store)


def test_the_server_verifies_the_checksum_of_the_bytes(s3: S3Bench) -> None:
    s3.keep(DATA)
    key = {"Bucket": s3.place.bucket, "Key": s3.store.key(DIGEST)}
    head = s3.client.head_object(**key, ChecksumMode="ENABLED")
    assert base64.b64decode(head["ChecksumSHA256"]) == hashlib.sha256(DATA).digest()
