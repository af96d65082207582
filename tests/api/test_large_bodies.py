"""Large request bodies share a budget of memory. Small ones do not need it."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from foundation.api.bodies import CHUNK_BYTES, read_body
from foundation.api.body_budget import LARGE_BYTES, VALUE_BYTES, WAIT_SECONDS, budget
from foundation.errors import PayloadTooLarge
from releases.trust.evidence import MAX_ATTACHMENT_VALUES
from tests import making
from tests.api.tenant_api import TenantApi, everything, refused, unchanged
from tests.building import eventually
from tests.cases import cases

TEXT = "x" * LARGE_BYTES
RELEASES = f"pipelines/{making.PIPELINE}/releases"


def item(key: str, text: str = TEXT) -> dict[str, Any]:
    return {"pipelineId": making.PIPELINE, "input": {"text": text}, "idempotencyKey": key}


@pytest.fixture
def spent(settings: Any) -> Iterator[None]:
    """Other requests have reserved the whole budget, and all places to wait are occupied."""
    settings.LARGE_BODIES_BYTES = 1
    assert budget.take(1, "others")
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(budget.take, 1, f"other-{number}") for number in range(4)]
        eventually(lambda: budget.waiting == 4, what="others that wait")
        yield
        settings.LARGE_BODIES_BYTES = 5
        budget.give_back(1, "others")
        assert all(each.result() for each in waiting)
    for number in range(4):
        budget.give_back(1, f"other-{number}")


def test_a_large_request_is_rejected_while_the_budget_is_spent(ours: TenantApi, spent: None) -> None:
    token = ours.all_scopes
    large = SimpleUploadedFile("pipeline-release.json", b" " * (LARGE_BYTES + 1))
    batch = {"items": [item("k")]}
    with unchanged():
        for path, body in (("executions", item("k")), (RELEASES, {"descriptor": large}), ("executions:batch", batch)):
            refused(ours.post(path, body, token=token), 503, "LARGE_REQUESTS_BUSY")
    assert ours.post("executions", item("k", "short"), token=token).status_code == 202, "it needs no budget"


def test_a_large_body_counts_its_values_too(ours: TenantApi, settings: Any) -> None:
    settings.LARGE_BODIES_BYTES = LARGE_BYTES + 50_000 * VALUE_BYTES
    assert budget.take(LARGE_BYTES // 2, "others")
    try:
        assert ours.post("executions", item("k")).status_code == 202
        many = item("l") | {"input": {"text": TEXT, "more": [0] * 50_000}}
        refused(ours.post("executions", many), 503, "LARGE_REQUESTS_BUSY")
    finally:
        budget.give_back(LARGE_BYTES // 2, "others")


@cases(("size", "read"), [(6, 6), (7, 7), (50, 7)])
def test_a_bounded_rest_of_a_too_large_body_is_read(settings: Any, size: int, read: int) -> None:
    settings.MAX_REQUEST_BYTES, settings.MAX_BATCH_BYTES = 3 * CHUNK_BYTES, 4 * CHUNK_BYTES
    stream = BytesIO(b"x" * size * CHUNK_BYTES)
    with pytest.raises(PayloadTooLarge):
        read_body(stream, settings.MAX_REQUEST_BYTES, "t")
    assert stream.tell() == read * CHUNK_BYTES


def attached(*contents: bytes) -> dict[str, Any]:
    files = [SimpleUploadedFile(f"{number}.json", content) for number, content in enumerate(contents)]
    return {"descriptor": SimpleUploadedFile("pipeline-release.json", b"{}"), "attachment": files}


def test_the_values_of_all_attachments_together_are_limited(ours: TenantApi) -> None:
    half = b"[" + b"{}," * (MAX_ATTACHMENT_VALUES // 2) + b"{}]"
    token, before = ours.all_scopes, everything()
    response = ours.post(RELEASES, attached(half, half), token=token)
    refused(response, 413, "PAYLOAD_TOO_LARGE")
    assert (everything(), budget.taken) == (before, 0)


def test_a_large_body_is_charged_to_its_tenant(ours: TenantApi, settings: Any) -> None:
    """The tenant has its half of the budget and of the places to wait, so it is refused at once."""
    owner, size = ours.tenant.slug, 2 * LARGE_BYTES
    settings.LARGE_BODIES_BYTES = 2 * size
    assert budget.take(size, owner)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(budget.take, 1, owner) for _ in range(2)]
        eventually(lambda: budget.waiting == 2, what="two that wait")
        began = time.monotonic()
        response = ours.post("executions", item("k"))
        assert time.monotonic() - began < WAIT_SECONDS
        budget.give_back(size, owner)
        assert all(each.result() for each in waiting)
    budget.give_back(2, owner)
    refused(response, 503, "LARGE_REQUESTS_BUSY")
