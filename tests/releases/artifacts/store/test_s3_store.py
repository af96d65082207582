"""What a server can do to us: be gone, be slow, refuse us, and answer in part. None of it is a verdict on a blob."""

import base64
import contextlib
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from embedded.s3 import S3Server
from releases.artifacts.store import S3ArtifactStore, S3Settings, artifact_store
from releases.artifacts.store.store import CHUNK
from releases.errors import ArtifactStoreUnavailable
from tests.building import eventually
from tests.faults import Relay
from tests.making import digest_of
from tests.releases.artifacts.store.bench import S3Bench
from tests.s3 import client_of, use_s3

DATA = b"some bytes" * 300_000
DIGEST = digest_of(DATA)


@pytest.fixture
def relay(s3_place: S3Settings) -> Iterator[Relay]:
    with Relay(urlsplit(s3_place.endpoint_url).port or 0) as relay:
        yield relay


@pytest.fixture
def far(s3_place: S3Settings, relay: Relay, tmp_path: Path) -> S3Bench:
    """The store behind a way that may fail."""
    where = replace(s3_place, endpoint_url=relay.url, timeout_seconds=0.5)
    return S3Bench(S3ArtifactStore(where, tmp_path / "far"))


def unavailable(use: Any, *arguments: Any) -> str:
    with pytest.raises(ArtifactStoreUnavailable) as caught:
        use(*arguments)
    return caught.value.detail


def test_the_settings_name_the_store(settings: Any, s3_place: S3Settings) -> None:
    use_s3(settings, s3_place)
    store = artifact_store()
    assert isinstance(store, S3ArtifactStore)
    assert store.where == s3_place


def test_no_secret_is_in_what_describes_the_store(s3: S3Bench) -> None:
    where = s3.store.where
    assert where.secret_access_key not in repr(where)
    assert where.access_key_id not in repr(where)


def test_the_server_holds_the_checksum_and_refuses_bytes_that_do_not_have_it(s3: S3Bench) -> None:
    s3.keep(DATA)
    key = {"Bucket": s3.store.where.bucket, "Key": s3.store.key(DIGEST)}
    told = s3.client.head_object(**key, ChecksumMode="ENABLED")
    assert base64.b64decode(told["ChecksumSHA256"]) == hashlib.sha256(DATA).digest()
    with pytest.raises(ClientError, match="BadDigest"):
        s3.client.put_object(**key, Body=b"other", ChecksumSHA256=told["ChecksumSHA256"])
    assert s3.read(DIGEST) == DATA


def test_two_that_store_the_same_bytes_at_once_both_have_them(s3: S3Bench, tmp_path: Path) -> None:
    other = S3ArtifactStore(s3.store.where, tmp_path / "other-host")
    barrier = threading.Barrier(2)

    def write(store: S3ArtifactStore) -> None:
        staged = store.stage(limit=10**9)
        staged.write(DATA)
        staged.sync()
        barrier.wait(10)
        staged.keep()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, (s3.store, other)))
    assert s3.store.verified(DIGEST) == other.verified(DIGEST) != None  # noqa: E711


def test_an_object_that_somebody_else_created_first_is_left_as_it_is(s3: S3Bench) -> None:
    """The loser of a race reads the winner's object, here known by its metadata, and does not write it again."""
    staged = s3.store.stage(limit=10**9)
    staged.write(DATA)
    staged.sync()
    key = {"Bucket": s3.store.where.bucket, "Key": s3.store.key(DIGEST)}
    s3.client.put_object(**key, Body=DATA, Metadata={"by": "the-winner"})
    staged.keep()
    assert s3.client.head_object(**key)["Metadata"] == {"by": "the-winner"}


def test_a_server_that_is_gone(far: S3Bench, relay: Relay) -> None:
    far.keep(DATA)
    relay.refusing = True
    for use in (far.store.look, far.store.verified, far.store.open, far.store.remove, far.store.quarantine):
        assert "does not answer" in unavailable(use, DIGEST)
    assert "does not answer" in unavailable(lambda: list(far.store.list()))
    unavailable(far.keep, b"more")
    relay.repair()
    assert far.store.verified(DIGEST) is not None


def test_a_server_that_is_too_slow(far: S3Bench, relay: Relay) -> None:
    far.keep(DATA)
    relay.stalled.set()
    for use in (far.store.look, far.store.verified, far.store.open):
        assert "does not answer" in unavailable(use, DIGEST)
    relay.repair()
    assert far.store.verified(DIGEST) is not None


def test_an_answer_that_breaks_off_is_no_truncated_object(far: S3Bench, relay: Relay) -> None:
    far.keep(DATA)
    relay.cut_after = len(DATA) // 2
    for use in (far.store.verified, far.store.open):
        assert "does not answer" in unavailable(use, DIGEST)
    assert list(far.store.staging.iterdir()) == []
    relay.repair()
    assert far.store.verified(DIGEST) is not None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"secret_access_key": "wrong-and-secret"}, "SignatureDoesNotMatch"),
        ({"access_key_id": "nobody"}, "InvalidAccessKeyId"),
        ({"bucket": "no-such-bucket"}, "NoSuchBucket"),
    ],
)
def test_what_the_server_refuses_is_told_by_its_code_alone(
    s3: S3Bench, tmp_path: Path, change: dict[str, Any], code: str
) -> None:
    s3.keep(DATA)
    stranger = S3ArtifactStore(replace(s3.store.where, **change), tmp_path / "stranger")
    for use in (stranger.verified, stranger.open):
        assert unavailable(use, DIGEST) == f"The artifact store refused: {code}."
    told = unavailable(stranger.look, DIGEST)  # an answer to HEAD has a status alone
    staged = stranger.stage(limit=100)
    staged.write(b"bytes")
    told += unavailable(staged.keep)
    assert not any(secret in told for secret in change.values())


def test_the_server_restarts_and_what_was_kept_is_there(tmp_path: Path) -> None:
    server = S3Server(tmp_path)
    with server:
        where = S3Settings(
            server.bucket,
            endpoint_url=server.endpoint_url,
            access_key_id=server.access_key_id,
            secret_access_key=server.secret_access_key,
        )
        bench = S3Bench(S3ArtifactStore(where, tmp_path / "scratch"))
        bench.keep(DATA)
        server.stop()
        unavailable(bench.store.look, DIGEST)
        server.start()

        def verified() -> object:
            # The server takes new objects a moment before it finds all of the old ones.
            with contextlib.suppress(ArtifactStoreUnavailable):
                return bench.store.verified(DIGEST)
            return None

        assert eventually(verified, what="the blob that was kept") is not None
        client_of(where).head_bucket(Bucket=where.bucket)


def test_a_key_is_below_the_prefix_and_without_one_at_the_top(s3_place: S3Settings, tmp_path: Path) -> None:
    digits = DIGEST.removeprefix("sha256:")
    for prefix, key in (("", f"sha256/{digits}"), ("/a/b/", f"a/b/sha256/{digits}")):
        assert S3ArtifactStore(replace(s3_place, prefix=prefix), tmp_path).key(DIGEST) == key


def test_the_caller_hears_of_each_chunk_that_is_read(s3: S3Bench) -> None:
    heard: list[str] = []
    data = bytes(3 * CHUNK + 1)
    s3.keep(data)
    file = s3.store.open(digest_of(data), lambda: heard.append("open"))
    assert file is not None
    file.close()
    assert s3.store.verified(digest_of(data), lambda: heard.append("verified")) is not None
    assert (heard.count("open") > 3, heard.count("verified") > 3) == (True, True)
