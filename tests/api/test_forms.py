"""Uploads of releases: forms that are invalid, too large or truncated change nothing and leave no bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from releases.artifacts.store import artifact_store
from tests.api.tenant_api import TenantApi, everything, fields, file, refused, upload
from tests.cases import cases

pytestmark = pytest.mark.django_db
RELEASES = "pipelines/{pipeline_id}/releases"


@contextmanager
def unchanged() -> Iterator[None]:
    before = everything()
    yield
    assert everything() == before
    assert list(artifact_store().staging.iterdir()) == []


@cases("descriptor", ["missing", "text"])
def test_a_form_needs_a_descriptor_as_a_file(ours: TenantApi, descriptor: str) -> None:
    form = upload()
    content = form.pop("descriptor").read().decode()
    form |= {"descriptor": content} if descriptor == "text" else {}
    with unchanged():
        assert fields(refused(ours.post(RELEASES, form), 400, "INVALID_REQUEST")) == {"descriptor": "REQUIRED"}
        refused(ours.post(RELEASES, b"{}"), 415, "UNSUPPORTED_MEDIA_TYPE")


def test_a_descriptor_above_the_limit_is_rejected(ours: TenantApi) -> None:
    form = {**upload(), "descriptor": file(b" " * (1024 * 1024 + 1))}
    with unchanged():
        assert refused(ours.post(RELEASES, form), 413, "PAYLOAD_TOO_LARGE")["limit"] == 1024 * 1024


@cases(
    ("limits", "more", "status", "code"),
    [
        ({"DATA_UPLOAD_MAX_NUMBER_FILES": 3}, {"more": [b"1", b"2"]}, 400, "INVALID_REQUEST"),
        ({"DATA_UPLOAD_MAX_NUMBER_FIELDS": 3}, {f"f{n}": "x" for n in range(4)}, 400, "INVALID_REQUEST"),
        ({"DATA_UPLOAD_MAX_MEMORY_SIZE": 1_000}, {"text": "x" * 1_001}, 413, "PAYLOAD_TOO_LARGE"),
        ({"MAX_ARTIFACT_BYTES": 1_000}, {"first": b"x" * 500, "second": b"x" * 1_001}, 413, "PAYLOAD_TOO_LARGE"),
    ],
)
def test_a_form_beyond_a_limit_is_rejected(
    ours: TenantApi, settings: Any, limits: dict[str, int], more: dict[str, Any], status: int, code: str
) -> None:
    defaults = {name: getattr(settings, name) for name in limits}
    files = {
        name: [file(each) for each in value] if isinstance(value, list) else file(value)
        for name, value in more.items()
        if not isinstance(value, str)
    }
    with unchanged():
        for name, value in limits.items():
            setattr(settings, name, value)
        found = refused(ours.post(RELEASES, {**upload(), **more, **files}), status, code)
        assert "MAX_ARTIFACT_BYTES" not in limits or found["limit"] == 1_000
    for name, value in defaults.items():
        setattr(settings, name, value)
