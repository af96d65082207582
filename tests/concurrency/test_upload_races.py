"""Direct uploads that race over a real S3 server: one upload of a tenant's bytes, one blob whoever brings it."""

import os
from functools import partial
from typing import Any

import pytest

from releases import direct_uploads
from releases.artifact_store import S3Settings, artifact_store
from releases.models import Blob
from tests import making
from tests.concurrency.racing import given, race
from tests.releases.sending import MEBIBYTE, begun, sent
from tests.s3 import use_s3

pytestmark = [pytest.mark.usefixtures("committed"), pytest.mark.xdist_group("s3_server")]
DATA = os.urandom(6 * MEBIBYTE)


@pytest.fixture(autouse=True)
def place(settings: Any, s3_place: S3Settings) -> None:
    use_s3(settings, s3_place)
    settings.UPLOAD_PART_BYTES = 5 * MEBIBYTE


def test_what_is_begun_twice_at_once_is_one_upload() -> None:
    owner = making.tenant()
    uploads = given(race(*[partial(begun, owner, DATA)] * 4))
    assert len({(upload.pk, upload.storage_id) for upload in uploads}) == 1
    assert uploads[0].storage_id


def test_the_same_bytes_of_two_tenants_verified_twice_at_once_are_one_blob() -> None:
    uploads = [sent(making.tenant(), DATA), sent(making.tenant(), DATA)]
    given(race(*(partial(direct_uploads.finish, str(upload.pk)) for upload in uploads * 2)))
    for upload in uploads:
        upload.refresh_from_db()
    assert [(upload.status, upload.cleared) for upload in uploads] == [("STORED", True)] * 2
    assert artifact_store().verified(making.digest_of(DATA)) is not None
    assert Blob.objects.get().state == "SOUND"
