"""Calls of REST workers: allowed origins, the base URL, and signatures while keys are rotated."""

from typing import Any

import pytest
from django.utils import timezone

from executions.transports.rest import calls
from executions.workers.tenant_keys import current_key, start_key
from foundation.http.address_guard import TargetRefused
from tests import making
from tests.cases import cases
from tests.receiving import Received, receiving
from wire.messages.limits import TOLERANCE
from wire.messages.rest_messages import CAPABILITIES_PATH, Refused, check_signature


@cases(
    ("endpoint", "may"),
    [
        ("https://worker.example:8443", True),
        ("https://worker.example:8443/base/", False),
        ("HTTPS://Worker.Example:8443", True),
        ("http://10.0.0.1", True),
        ("http://worker.example:8443", False),
        ("https://worker.example:8443@evil.example", False),
        ("https://sub.worker.example:8443", False),
        ("http://10.0.0.1:port", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_only_allowed_origins_may_be_called(settings: Any, endpoint: str, may: bool) -> None:
    settings.REST_WORKER_ORIGINS = ["https://worker.example:8443", "http://10.0.0.1"]
    assert calls.may_call(endpoint) is may


def test_workers_without_an_endpoint_are_called_at_the_base_url(settings: Any) -> None:
    settings.REST_WORKER_BASE_URL = "https://base.example/workers"
    assert calls.may_call("")
    assert calls.base_of("") == "https://base.example/workers"
    assert calls.base_of("http://a/") == "http://a"


def test_the_lease_is_longer_than_any_call(settings: Any) -> None:
    settings.REST_WORKER_CONNECT_SECONDS, settings.REST_WORKER_TIMEOUT_SECONDS = 20, 30
    assert calls.lease_seconds() > 3 * 20 + 30


@pytest.mark.django_db
def test_the_secrets_of_a_tenant_are_its_keys_or_the_shared_ones(settings: Any) -> None:
    owner = making.tenant()
    old = current_key(owner.slug)
    new = start_key(owner, actor="user:test")
    assert calls.secrets_of(owner.slug) == [new.text, old.text]
    assert not {*calls.secrets_of("b")} & {new.text, old.text}
    settings.REST_WORKER_SECRET, settings.REST_WORKER_SECRET_FALLBACKS = "shared", ["before"]
    assert calls.secrets_of(owner.slug) == ["shared", "before"]


def is_signed_with(secret: str, request: Received) -> bool:
    try:
        check_signature(
            secret, request.method, request.path, request.headers, b"", now=timezone.now(), tolerance=TOLERANCE
        )
    except Refused:
        return False
    return True


def call(endpoint: str) -> int:
    return calls.call(endpoint, "acme", "POST", CAPABILITIES_PATH).status


@cases(
    ("responses", "status", "secrets"),
    [
        *(([status], status, ["new"]) for status in (200, 403, 500)),
        ([401, 200], 200, ["new", "old"]),
        ([401], 401, ["new", "old"]),
    ],
)
def test_only_an_unauthorized_call_is_repeated_with_the_next_secret(
    settings: Any, responses: list[int], status: int, secrets: list[str]
) -> None:
    settings.REST_WORKER_SECRET, settings.REST_WORKER_SECRET_FALLBACKS = "new", ["old"]
    with receiving() as worker:
        settings.REST_WORKER_ORIGINS = [worker.url(path="")]
        worker.statuses = [*responses]
        assert call(worker.url(path="")) == status
        used = [next(each for each in ("new", "old") if is_signed_with(each, one)) for one in worker.requests]
        assert used == secrets


def test_an_origin_that_is_not_allowed_is_not_called(settings: Any) -> None:
    settings.REST_WORKER_SECRET = "secret"
    with receiving() as other:
        settings.REST_WORKER_ORIGINS = ["http://worker.example"]
        with pytest.raises(TargetRefused):
            call(other.url(path=""))
        assert other.requests == []
