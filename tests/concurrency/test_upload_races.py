import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, LiteralString

import pytest
import requests

from releases.artifacts.store import artifact_store
from releases.models import Blob
from releases.registration import direct_uploads
from tests import making
from tests.concurrency.racing import race, results_of
from tests.concurrency.sessions import advisory_locks, another_session, digest_lock, stopped_before_writing, thread
from tests.concurrency.waiting import until_blocked
from tests.releases.registration.sending import MEBIBYTE, begun, opened, sent
from tests.s3 import S3Place, client_of, use_s3

pytestmark = pytest.mark.xdist_group("s3_server")
DATA = os.urandom(6 * MEBIBYTE)


@pytest.fixture(autouse=True)
def place(settings: Any, s3_place: S3Place) -> None:
    use_s3(settings, s3_place)
    settings.UPLOAD_PART_BYTES = 5 * MEBIBYTE


@contextmanager
def overtaken(call: Callable[[], object], sql: LiteralString, *parameters: object) -> Iterator[None]:
    """`call` waits for a row that `sql` has changed in another session, which commits after the block."""
    with thread() as other, another_session() as session:
        session.execute(sql, parameters)
        late = other.submit(race, call)
        until_blocked(session, ended=late.done)
        yield
        session.commit()
        late.result(30)


def test_the_first_of_two_starts_decides_the_multipart_upload(s3_place: S3Place) -> None:
    """The loser is rejected after the parts of the winner have arrived, and aborts only what it started itself."""
    owner, direct = making.tenant(), artifact_store().direct
    assert direct is not None
    upload = opened(owner, making.digest_of(DATA), size=len(DATA))
    name = str(upload.pk)
    won = direct.begin(name)
    win: LiteralString = "UPDATE releases_artifactupload SET storage_id = %s, status = 'VERIFYING' WHERE id = %s"
    with overtaken(partial(begun, owner, DATA), win, won, upload.pk):
        address = direct.url(name, won, 1, len(DATA))
        assert requests.put(address, data=DATA, timeout=20).status_code == 200
    begun_there = client_of(s3_place).list_multipart_uploads(Bucket=s3_place.bucket, Prefix=s3_place.prefix)
    assert [upload["UploadId"] for upload in begun_there["Uploads"]] == [won]
    assert direct.join(name, won)
    direct_uploads.finish(name)
    assert (making.reread(upload).status, upload.finding) == ("STORED", None)


def test_concurrent_verifications_of_equal_bytes_of_two_tenants_are_one_blob() -> None:
    uploads = [sent(making.tenant(), DATA), sent(making.tenant(), DATA)]
    results_of(race(*(partial(direct_uploads.finish, str(upload.pk)) for upload in uploads * 2)))
    for upload in uploads:
        upload.refresh_from_db()
    assert [(upload.status, upload.cleared) for upload in uploads] == [("STORED", True)] * 2
    assert artifact_store().verified(making.digest_of(DATA)) is not None
    assert Blob.objects.get().state == "SOUND"


def test_a_direct_upload_locks_its_digest_until_it_is_stored() -> None:
    upload = sent(making.tenant(), DATA)
    with stopped_before_writing(Blob, partial(direct_uploads.finish, str(upload.pk))) as stopped:
        assert digest_lock(upload.digest) == "shared"
        stopped.finish()
        assert advisory_locks() == 0
    assert making.reread(upload).status == "STORED"
