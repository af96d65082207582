from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import requests
from django.utils import timezone

from releases.models import ArtifactUpload
from releases.registration import direct_uploads
from releases.registration.direct_uploads import Part
from tenancy.models import Tenant
from tests import making

MEBIBYTE = 2**20


def begun(owner: Tenant, data: bytes, *, digest: str | None = None, size: int | None = None) -> ArtifactUpload:
    return direct_uploads.begin(
        owner, digest=digest or making.digest_of(data), size=size or len(data), actor="token:ci"
    )


def opened(owner: Tenant, digest: str, expires_at: datetime | None = None, size: int = 1) -> ArtifactUpload:
    """Return the row of an upload without parts. It expires in a day, or at `expires_at`."""
    at = expires_at or timezone.now() + timedelta(days=1)
    members: dict[str, Any] = {"size": size, "part_size": size, "status": "OPEN", "uploaded_by": "user:test"}
    return ArtifactUpload.objects.create(tenant=owner, digest=digest, expires_at=at, **members)


def send(data: bytes, parts: Iterable[Part]) -> list[int]:
    return [
        requests.put(part.url, data=data[part.offset : part.offset + part.size], timeout=20).status_code
        for part in parts
    ]


def sent(owner: Tenant, data: bytes, **declared: object) -> ArtifactUpload:
    """Return an upload that has all its parts and is completed, but not verified yet."""
    upload = begun(owner, data, **declared)  # type: ignore[arg-type]
    assert set(send(data, direct_uploads.missing(upload)[1])) == {200}
    return direct_uploads.complete(upload)


def stored(owner: Tenant, data: bytes) -> ArtifactUpload:
    upload = sent(owner, data)
    direct_uploads.finish(str(upload.pk))
    assert making.reread(upload).status == "STORED", upload.finding
    return upload
