"""The stack of the API: no guard of the pages' is missing that concerns programs."""

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import signals
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory
from django.urls import get_resolver

from coordinator import request_middleware
from coordinator.wsgi_handler import Handler
from tests import making
from tests.api.tenant_api import TenantApi
from tests.cases import Log
from tests.words import words

LARGE = "x" * 10_000
PATHS = words("executions executions/ executions/{execution_id} executions?unknown=1 executions/%00 nothing")
OTHERS = words(
    """
    /api/v1/nothing /api/v1/nothing/ /api/v1/tenants/%00/executions /tpf/admin/nothing /pipeline/nothing
    /tpf/admin/tenants/acme/pipelines/p/releases
    """
)


def responses(ours: TenantApi) -> list[Any]:
    client = Client(enforce_csrf_checks=True)
    answers = []
    for url in (*map(ours.url, PATHS), *OTHERS):
        for headers in ({}, {"Authorization": f"Bearer {ours.all_scopes}"}, {"Host": "elsewhere.example"}):
            for secure in (False, True):
                for method in ("GET", "HEAD", "POST", "OPTIONS"):
                    body = "{}" if method == "POST" else ""
                    response = client.generic(method, url, body, "application/json", secure, headers=headers)
                    shown = {name: value for name, value in response.headers.items() if name != "X-Request-ID"}
                    answers.append(((method, url, headers, secure, response.status_code, response.content), shown))
    return answers


def test_no_guard_of_pages_would_change_a_response_of_the_api(ours: TenantApi, settings: Any, monkeypatch: Any) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 3600
    ours.post("executions", {})  # now the token is cached, so all submissions take the same path
    for https_only in (False, True):
        settings.SECURE_SSL_REDIRECT, settings.SECURE_HSTS_SECONDS = https_only, 3600 * https_only
        settings.SECURE_HSTS_PRELOAD = https_only
        answers = responses(ours)
        assert {status for (*_, status, _), _ in answers} >= {200, 301 if https_only else 401, 400, 404, 405}
        with monkeypatch.context() as patched:
            patched.setattr(request_middleware, "API", ())
            guarded = responses(ours)
        for (response, headers), (guarded_response, guarded_headers) in zip(answers, guarded, strict=True):
            assert response == guarded_response
            assert guarded_headers.items() <= headers.items()
            assert ("Strict-Transport-Security" in headers) == (https_only and response[3])


def views(patterns: Any, path: str = "/") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        here = f"{path}{pattern.pattern}"
        yield from views(pattern.url_patterns, here) if hasattr(pattern, "url_patterns") else [(here, pattern.callback)]


def test_the_api_has_no_view_that_a_csrf_token_or_a_slash_at_the_end_would_guard() -> None:
    api = {path: view for path, view in views(get_resolver().url_patterns) if path.startswith(request_middleware.API)}
    assert len(api) > 100
    assert [path for path, view in api.items() if path.endswith("/") or not getattr(view, "csrf_exempt", False)] == []


@pytest.fixture
def handle(monkeypatch: Any) -> Handler:
    """The handler of a web process, where no receiver closes connections after a request."""
    monkeypatch.setattr(signals.request_finished, "receivers", [])
    return Handler()


def answering(_: Any) -> Any:
    """A middleware that answers by itself: in pieces, with an error, or with a cookie."""

    def respond(request: Any) -> Any:
        if request.path == "/pieces":
            return StreamingHttpResponse([b"a", b"b"])
        response = HttpResponse("page", status=404 if request.path == "/missing" else 200)
        response.set_cookie("name", "value")
        return response

    return respond


def test_the_server_gets_lists_streams_and_cookies_and_a_line(handle: Handler, settings: Any, caplog: Log) -> None:
    settings.MIDDLEWARE = [f"{__name__}.answering"]
    handle = Handler()
    begun: list[tuple[str, Any]] = []

    def call(path: str) -> Any:
        environ = RequestFactory().get(path).META
        return handle(environ, lambda status, headers: begun.append((status, headers)))

    assert (call("/page"), call("/missing"), list(call("/pieces"))) == ([b"page"], [b"page"], [b"a", b"b"])
    assert [status for status, _ in begun] == ["200 OK", "404 Not Found", "200 OK"]
    assert ("Set-Cookie", " name=value; Path=/") in begun[0][1]
    assert "Not Found: /missing" in caplog.messages


def test_a_submission_leaves_nothing_to_collect_as_garbage(ours: TenantApi, handle: Handler, settings: Any) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 3600
    statuses: list[str] = []
    headers = {"Authorization": f"Bearer {ours.all_scopes}"}

    def submit(key: str, pipeline: str = making.PIPELINE, value: object = None) -> None:
        body = json.dumps({"pipelineId": pipeline, "input": value or {}, "idempotencyKey": key})
        request = RequestFactory().generic("POST", ours.url("executions"), body, "application/json", headers=headers)
        handle(request.META, lambda status, _: statuses.append(status))

    for number in range(3):
        submit(f"first-{number}")
    gc.collect()
    gc.disable()
    try:
        submit("last")
        left = gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        submit("refused", "unknown", LARGE)
        gc.collect()
        held = [referent for referent in gc.get_referents(*gc.garbage) if referent == LARGE]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert (statuses[1:4], left) == (["202 Accepted"] * 3, 0)
    assert (statuses[4:], held) == (["404 Not Found"], [])
