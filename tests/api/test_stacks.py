"""The stack of the API: no guard of the pages' is missing that concerns programs."""

from collections.abc import Iterator
from typing import Any

from django.test import Client
from django.urls import get_resolver

from coordinator import request_middleware
from tests.api.tenant_api import TenantApi
from tests.words import words

PATHS = words("executions executions/ executions/{execution_id} executions?unknown=1 executions/%00 nothing")
OTHERS = words(
    """
    /api/v1/nothing /api/v1/nothing/ /api/v1/tenants/%00/executions /tpf/admin/nothing /pipeline/nothing
    /tpf/admin/tenants/acme/pipelines/p/releases
    """
)


def responses(ours: TenantApi) -> list[Any]:
    client = Client(enforce_csrf_checks=True)
    found = []
    for url in (*map(ours.url, PATHS), *OTHERS):
        for headers in ({}, {"Authorization": f"Bearer {ours.all_scopes}"}, {"Host": "elsewhere.example"}):
            for secure in (False, True):
                for method in ("GET", "HEAD", "POST", "OPTIONS"):
                    body = "{}" if method == "POST" else ""
                    response = client.generic(method, url, body, "application/json", secure, headers=headers)
                    shown = {name: value for name, value in response.headers.items() if name != "X-Request-ID"}
                    found.append(((method, url, headers, secure, response.status_code, response.content), shown))
    return found


def test_no_guard_of_pages_would_change_a_response_of_the_api_or_add_a_header(
    ours: TenantApi, settings: Any, monkeypatch: Any
) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 3600
    ours.post("executions", {})  # now the token is cached, so all submissions take the same path
    for https_only in (False, True):
        settings.SECURE_SSL_REDIRECT, settings.SECURE_HSTS_SECONDS = https_only, 3600 * https_only
        settings.SECURE_HSTS_PRELOAD = https_only
        own = responses(ours)
        assert {status for (*_, status, _), _ in own} >= {200, 301 if https_only else 401, 400, 404, 405}
        with monkeypatch.context() as patched:
            patched.setattr(request_middleware, "API", ())
            guarded = responses(ours)
        for (response, headers), (guarded_response, guarded_headers) in zip(own, guarded, strict=True):
            assert response == guarded_response
            assert guarded_headers.items() <= headers.items()
            assert ("Strict-Transport-Security" in headers) == (https_only and response[3])


def views(patterns: Any, path: str = "/") -> Iterator[tuple[str, Any]]:
    for each in patterns:
        here = f"{path}{each.pattern}"
        yield from views(each.url_patterns, here) if hasattr(each, "url_patterns") else [(here, each.callback)]


def test_the_api_has_no_view_that_a_csrf_token_or_a_slash_at_the_end_would_guard() -> None:
    api = {path: view for path, view in views(get_resolver().url_patterns) if path.startswith(request_middleware.API)}
    assert len(api) > 100
    assert [path for path, view in api.items() if path.endswith("/") or not getattr(view, "csrf_exempt", False)] == []
