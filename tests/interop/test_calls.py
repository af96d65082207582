"""Which endpoints may be called, and where those are that have none."""

from typing import Any

import pytest

from executions import rest_calls


@pytest.mark.parametrize(
    ("endpoint", "may"),
    [
        ("https://worker.example:8443", True),
        ("https://worker.example:8443/base/", True),
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


def test_each_tenant_is_signed_for_with_its_own_key(settings: Any) -> None:
    assert rest_calls.secrets_of("a") != rest_calls.secrets_of("b")
    settings.REST_WORKER_SECRET = "shared"
    assert rest_calls.secrets_of("a") == rest_calls.secrets_of("b") == ["shared"]
