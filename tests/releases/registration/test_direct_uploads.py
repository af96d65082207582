import os
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.utils import timezone

from foundation.errors import PayloadTooLarge
from releases import tasks
from releases.artifacts import retention
from releases.artifacts.retention import Orphan, Why
from releases.artifacts.s3_store import DirectUploads, StagedObject
from releases.artifacts.store import BlobStat, artifact_store
from releases.errors import DirectUploadsFull, UploadIncomplete, UploadNotOpen, UploadUnknown
from releases.models import ArtifactUpload, Blob
from releases.registration import direct_uploads
from tenancy.models import Tenant
from tests import making
from tests.deaths import each_death
from tests.raw_sql import as_owner, raised, unguarded
from tests.releases.registration.sending import MEBIBYTE, begun, opened, send, sent, stored
from tests.s3 import S3Place, client_of, faulty_proxy, short, use_s3, wrong
from tests.wakeups import Broker, names

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("s3_server")]
DATA, SMALL = os.urandom(12 * MEBIBYTE), os.urandom(1000)


@pytest.fixture(autouse=True)
def place(settings: Any, s3_place: S3Place) -> S3Place:
    use_s3(settings, s3_place)
    settings.UPLOAD_PART_BYTES = 5 * MEBIBYTE
    return s3_place


def keys(place: S3Place) -> list[str]:
    """Return the objects in the bucket and its running multipart uploads."""
    client = client_of(place)
    objects = client.list_objects_v2(Bucket=place.bucket, Prefix=place.prefix).get("Contents", ())
    open_ones = client.list_multipart_uploads(Bucket=place.bucket, Prefix=place.prefix).get("Uploads", ())
    return [row["Key"].removeprefix(f"{place.prefix}/") for row in (*objects, *open_ones)]


def finish(upload: ArtifactUpload) -> tuple[str, str | None]:
    direct_uploads.finish(str(upload.pk))
    return making.reread(upload).status, (upload.finding or {}).get("code")


def test_an_upload_is_resumed_and_stored_under_its_digest_once_it_was_verified(place: S3Place, broker: Broker) -> None:
    owner, digest = making.tenant(), making.digest_of(DATA)
    upload = begun(owner, DATA)
    received, parts = direct_uploads.missing(upload)
    assert (received, [part.size for part in parts]) == (0, [5 * MEBIBYTE, 5 * MEBIBYTE, 2 * MEBIBYTE])
    assert send(DATA, [parts[1]]) == [200]
    assert begun(owner, DATA).pk == upload.pk
    received, rest = direct_uploads.missing(upload)
    assert (received, [part.number for part in rest]) == (5 * MEBIBYTE, [1, 3])
    raised(UploadIncomplete, direct_uploads.complete, upload)
    send(DATA, rest)
    messages = broker.after(lambda: direct_uploads.complete(upload))
    assert names(messages) == [direct_uploads.FINISH_TASK]
    assert not Blob.objects.filter(digest=digest).exists()
    broker.deliver(messages)
    assert (making.reread(upload).status, upload.claimed_at is not None) == ("STORED", True)
    assert keys(place) == [f"sha256/{digest.removeprefix('sha256:')}"]
    assert begun(owner, DATA).pk == upload.pk, "what is stored need not be sent again"
    raised(UploadUnknown, direct_uploads.find, making.tenant(), str(upload.pk))
    document = making.descriptor(making.contract(), DATA, kind="native-binary")
    assert making.verified(making.upload(owner, document).release).artifacts.get().blob_id == digest


def test_wrong_bytes_are_rejected_and_removed(place: S3Place) -> None:
    upload = sent(making.tenant(), SMALL, digest=making.digest_of(b"other"))
    assert finish(upload) == ("REJECTED", "UPLOAD_DIGEST_MISMATCH")
    assert keys(place) == []
    assert not Blob.objects.filter(digest=making.digest_of(b"other")).exists()
    raised(UploadNotOpen, direct_uploads.complete, upload)


def test_the_server_rejects_a_part_of_another_size_or_number() -> None:
    [first, *_, last] = direct_uploads.missing(begun(making.tenant(), DATA))[1]
    longer = requests.put(last.url, data=DATA[: last.size + 1], timeout=20)
    shorter = requests.put(first.url, data=DATA[: first.size - 1], timeout=20)
    moved = requests.put(first.url.replace("partNumber=1", "partNumber=2"), data=DATA[: first.size], timeout=20)
    assert {longer.status_code, shorter.status_code, moved.status_code} == {403}


def test_parts_are_sent_to_the_public_address(place: S3Place, settings: Any) -> None:
    [part, *_] = direct_uploads.missing(begun(making.tenant(), DATA))[1]
    assert parse_qs(urlsplit(part.url).query)["X-Amz-Expires"] == ["900"], "a quarter of an hour"
    use_s3(settings, replace(place, public_endpoint_url="https://store.example"))
    _, [part, *_] = direct_uploads.missing(begun(making.tenant(), DATA))
    assert part.url.startswith(f"https://store.example/{place.bucket}/")


def hashed(owner: Tenant) -> tuple[DirectUploads, str, StagedObject, str]:
    """Return the direct uploads, the name of a hashed upload, its staged object and the key of its digest."""
    upload, direct = sent(owner, SMALL), artifact_store().direct
    assert direct is not None
    name = str(upload.pk)
    assert direct.join(name, upload.storage_id)
    staged = direct.read(name)
    assert staged is not None
    return direct, name, staged, artifact_store().key(upload.digest)


def test_bytes_that_are_replaced_after_they_were_hashed_do_not_reach_the_digest(place: S3Place) -> None:
    """The client could replace them with an unused presigned request or the store's credentials."""
    direct, name, staged, key = hashed(making.tenant())
    client = client_of(place)
    client.put_object(Bucket=place.bucket, Key=f"{place.prefix}/staging/{name}", Body=bytes(len(SMALL)))
    assert not direct.place(name, staged, key, lambda: artifact_store().verified(staged.digest))
    assert artifact_store().stat(staged.digest) is None


def test_a_sound_object_is_never_overwritten(place: S3Place) -> None:
    direct, name, staged, key = hashed(making.tenant())
    client = client_of(place)

    def verified() -> BlobStat | None:
        """Return None in the first call. After that, the object of another upload exists."""
        stat = artifact_store().verified(staged.digest)
        if stat is None:
            client.put_object(Bucket=place.bucket, Key=key, Body=SMALL, Metadata={"by": "another"})
        return stat

    for _ in range(2):
        assert direct.place(name, staged, key, verified)
        assert client.head_object(Bucket=place.bucket, Key=key)["Metadata"] == {"by": "another"}


def test_the_size_of_a_part_and_of_the_whole_is_the_declared_one(place: S3Place) -> None:
    """Only a client with the credentials of the store can send another size. A presigned request cannot."""
    upload = begun(making.tenant(), DATA)
    client = client_of(place)
    key = f"{place.prefix}/staging/{upload.pk}"
    part = {"Bucket": place.bucket, "Key": key, "UploadId": upload.storage_id}
    tag = client.upload_part(**part, PartNumber=1, Body=DATA + b"x")["ETag"]
    assert [part.number for part in direct_uploads.missing(upload)[1]] == [1, 2, 3]
    client.complete_multipart_upload(**part, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})
    ArtifactUpload.objects.filter(pk=upload.pk).update(status="VERIFYING")
    assert finish(upload) == ("REJECTED", "UPLOAD_SIZE_MISMATCH")
    assert keys(place) == []


def test_unfinished_uploads_expire_and_are_cleared(place: S3Place) -> None:
    owner = making.tenant()
    upload = begun(owner, DATA)
    [part, *_] = direct_uploads.missing(upload)[1]
    send(DATA, [part])
    tasks.sweep()
    assert len(keys(place)) == 1
    with as_owner():
        ArtifactUpload.objects.filter(pk=upload.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    tasks.sweep()
    assert (making.reread(upload).status, upload.cleared, keys(place)) == ("EXPIRED", True, [])
    assert direct_uploads.missing(upload) == (0, [])
    assert requests.put(part.url, data=DATA[: part.size], timeout=20).status_code == 404
    raised(UploadNotOpen, direct_uploads.complete, upload)
    assert begun(owner, DATA).pk != upload.pk


def test_a_new_direct_upload_keeps_old_bytes_from_removal(place: S3Place) -> None:
    owner, digest = making.tenant(), making.digest_of(SMALL)
    stored(making.tenant(), SMALL)
    long_ago = timezone.now() - timedelta(days=3)
    with unguarded(Blob), unguarded(ArtifactUpload):
        Blob.objects.filter(digest=digest).update(created_at=long_ago)
        ArtifactUpload.objects.update(status_changed_at=long_ago)
    old, day = [Orphan(digest, len(SMALL), long_ago, Why.STRAY)], timedelta(days=1)
    stored(owner, SMALL)
    assert list(retention.remove(old, day)) == []
    with unguarded(ArtifactUpload):
        ArtifactUpload.objects.update(status_changed_at=long_ago)
    assert list(retention.remove(old, day)) == old


def test_an_unavailable_store_gives_no_verdict_and_a_death_stores_both_or_none(settings: Any, place: S3Place) -> None:
    upload = sent(making.tenant(), b"a few bytes")
    use_s3(settings, replace(place, endpoint_url="http://127.0.0.1:1", timeout_seconds=0.2))
    assert finish(upload) == ("VERIFYING", None)
    with faulty_proxy(place) as proxy:
        use_s3(settings, proxy.place)
        proxy.folder = "staging"
        for fault in (wrong, short):
            proxy.faults = [fault]
            assert finish(upload) == ("VERIFYING", None)
    use_s3(settings, place)
    for statement in each_death(lambda: direct_uploads.finish(upload.pk)):
        upload.refresh_from_db()
        assert Blob.objects.filter(digest=upload.digest).exists() is (upload.status == "STORED"), statement
    assert finish(upload) == ("STORED", None)


def test_a_direct_upload_replaces_a_damaged_blob(place: S3Place) -> None:
    owner = making.tenant()
    upload = stored(owner, SMALL)
    client_of(place).put_object(Bucket=place.bucket, Key=artifact_store().key(upload.digest), Body=b"damage")
    Blob.objects.filter(digest=upload.digest).update(state="DAMAGED")
    assert stored(owner, SMALL).pk != upload.pk
    assert artifact_store().verified(upload.digest) is not None
    assert Blob.objects.get(digest=upload.digest).state == "SOUND"


def test_the_size_and_number_of_uploads_are_limited(settings: Any) -> None:
    owner = making.tenant()
    settings.MAX_ARTIFACT_BYTES = 10
    raised(PayloadTooLarge, begun, owner, DATA)
    settings.MAX_ARTIFACT_BYTES = 10**9
    for number in range(direct_uploads.MAX_OPEN):
        opened(owner, making.digest_of(bytes([number])))
    raised(DirectUploadsFull, begun, owner, DATA)
    with as_owner():
        late = ArtifactUpload.objects.filter(tenant=owner).earliest("pk")
        ArtifactUpload.objects.filter(pk=late.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert begun(owner, DATA).status == "OPEN", "an upload that has expired is not open"
    assert len(direct_uploads.missing(begun(making.tenant(), b"", digest="sha256:" + "0" * 64, size=10**9))[1]) == 100
