"""Which endpoints may be called, and where those are that have none."""

from typing import Any

import pytest
from django.utils import timezone

from executions import rest_calls
from executions.rest_protocol import CAPABILITIES_PATH, TOLERANCE, Refused, check_signature
from executions.tenant_keys import current_key, start_key
from tests import making
from tests.receiving import Received, receiving


@pytest.mark.parametrize(
    ("endpoint", "may"),
    [
        ("https://worker.example:8443", True),
        ("https://worker.example:8443/base/", False),
        ("HTTPS://Worker.Example:8443", True),
        ("http://10.0.0.1:80", True),
        ("http://10.0.0.1", True),
        ("https://worker.example", False),
        ("http://worker.example:8443", False),
        ("https://worker.example:8443@evil.example", False),
        ("https://worker.example:8443.evil.example", False),
        ("https://evil.example/https://worker.example:8443", False),
        ("https://sub.worker.example:8443", False),
        ("http://127.0.0.1", False),
        ("http://10.0.0.1:port", False),
        ("http://[", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_only_origins_that_are_named_may_be_called(settings: Any, endpoint: str, may: bool) -> None:
    settings.REST_WORKER_ORIGINS = ["https://worker.example:8443", "http://10.0.0.1"]
    assert rest_calls.may_call(endpoint) is may


def test_a_base_of_the_installations_own_serves_those_without_an_endpoint(settings: Any) -> None:
    settings.REST_WORKER_BASE_URL = "https://base.example/workers"
    assert rest_calls.may_call("")
    assert rest_calls.base_of("") == "https://base.example/workers"
    assert rest_calls.base_of("http://a/") == "http://a"


def test_the_lease_outlives_all_that_one_call_may_take(settings: Any) -> None:
    settings.REST_WORKER_CONNECT_SECONDS, settings.REST_WORKER_TIMEOUT_SECONDS = 2, 30
    assert rest_calls.lease_seconds() > 3 * 2 + 30


@pytest.mark.django_db
def test_each_tenant_is_signed_for_with_its_own_key(settings: Any) -> None:
    assert rest_calls.secrets_of("a") != rest_calls.secrets_of("b")
    settings.REST_WORKER_SECRET = "shared"
    assert rest_calls.secrets_of("a") == rest_calls.secrets_of("b") == ["shared"]


# --- while keys are rotated ---


def signed_with(secret: str, request: Received) -> bool:
    try:
        check_signature(
            secret, request.method, request.path, request.headers, b"", now=timezone.now(), tolerance=TOLERANCE
        )
    except Refused:
        return False
    return True


@pytest.mark.django_db
def test_a_worker_that_has_the_old_key_is_called_again_with_it(settings: Any) -> None:
    owner = making.tenant()
    old = current_key(owner.slug)
    new = start_key(owner, actor="user:test")
    with receiving() as worker:
        settings.REST_WORKER_ORIGINS = [worker.url(path="")]
        worker.statuses = [401, 200]
        assert rest_calls.call(worker.url(path=""), owner.slug, "POST", CAPABILITIES_PATH).status == 200
        first, second = worker.requests
    assert signed_with(new.text, first)
    assert signed_with(old.text, second)


@pytest.mark.parametrize("status", [200, 400, 403, 500])
def test_no_other_answer_causes_a_second_call(settings: Any, status: int) -> None:
    settings.REST_WORKER_SECRET, settings.REST_WORKER_SECRET_FALLBACKS = "new", ["old"]
    with receiving() as worker:
        settings.REST_WORKER_ORIGINS = [worker.url(path="")]
        worker.statuses = [status]
        assert rest_calls.call(worker.url(path=""), "acme", "POST", CAPABILITIES_PATH).status == status
        assert len(worker.requests) == 1


def test_a_worker_that_refuses_every_secret_is_unauthorized(settings: Any) -> None:
    settings.REST_WORKER_SECRET, settings.REST_WORKER_SECRET_FALLBACKS = "new", ["old"]
    with receiving() as worker:
        settings.REST_WORKER_ORIGINS = [worker.url(path="")]
        worker.statuses = [401]
        assert rest_calls.call(worker.url(path=""), "acme", "POST", CAPABILITIES_PATH).status == 401
        assert [signed_with("old", each) for each in worker.requests] == [False, True]
