"""A usual submission with a cached token is served without the framework. The response is the same."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from executions.models import Execution
from tenancy.api import authentication
from tenancy.models import ApiToken
from tenancy.roles import Scope
from tests import making
from tests.api.tenant_api import TenantApi, refused, tenant_api

PLAIN = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": "key"}
pytestmark = pytest.mark.django_db
# The members that differ between executions.
OWN = ("executionId", "createdAt", "nextDueAt", "updatedAt", "links", "idempotencyKey")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
UNNAMED = json.dumps({"pipelineId": making.PIPELINE, "input": {"n": 1}}).encode()
Request = Callable[[TenantApi, str], Any]


def plain(api: TenantApi, key: str, **more: Any) -> Any:
    return api.post("executions", {**PLAIN, "idempotencyKey": key, **more.pop("members", {})}, **more)


def without_the_framework(api: TenantApi, request: Request) -> Any:
    """Return the response to `request` with a cached token."""
    assert plain(api, "warming up").status_code in {200, 202}
    return request(api, "warm")


def with_the_framework(api: TenantApi, request: Request) -> Any:
    authentication.cache.clear()
    return request(api, "cold")


def comparable(response: Any) -> tuple[int, str]:
    """Return the status and the rest of the response, without ids and headers that only the framework adds."""
    headers = {name: value for name, value in response.headers.items() if name not in {"Location", "Allow"}}
    document = {name: value for name, value in json.loads(response.content).items() if name not in OWN}
    return response.status_code, UUID.sub("ID", f"{headers} {document}").replace("warm", "cold")


def test_a_submission_with_a_cached_token_needs_one_statement(ours: TenantApi) -> None:
    plain(ours, "warming up")
    with CaptureQueriesContext(connection) as caught:
        response = plain(ours, "key")
    assert response.status_code == 202
    # Only the test's own transaction causes the savepoint.
    assert len([query for query in caught if "SAVEPOINT" not in str(query["sql"])]) == 1
    made = Execution.objects.get(execution_key="key")
    assert response.headers["Location"] == response.json()["links"]["self"]
    assert response.headers["Location"].endswith(f"{ours.url('executions')}/{made.pk}")
    assert made.submitted_by == f"token:{ours.tenant.tokens.get().name}"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (plain, 202),
        (lambda api, key: [plain(api, key), plain(api, key)][1], 200),
        (lambda api, key: plain(api, key, headers={"Accept": "application/json"}), 202),
        (lambda api, key: plain(api, key, headers={"Accept": "text/html"}), 406),
        (lambda api, key: plain(api, key, content_type="application/json; charset=utf-8"), 202),
        (lambda api, key: plain(api, key, content_type="text/plain"), 415),
        (lambda api, key: plain(api, key, members={"pipelineId": "unknown"}), 404),
        (lambda api, key: plain(api, key, members={"expectedReleaseVersion": "9.9"}), 409),
        (lambda api, key: plain(api, key, members={"input": None}), 400),
        (lambda api, key: plain(api, key, members={"extra": 1}), 400),
        (lambda api, key: [plain(api, key), plain(api, key, members={"input": {"n": 2}})][1], 409),
        (lambda api, key: api.post("executions?unknown=1", {**PLAIN, "idempotencyKey": key}), 202),
        (lambda api, _: api.post("executions", UNNAMED), 400),
        (lambda api, _: api.post("executions", b""), 400),
        (lambda api, _: api.post("executions", b'{"a": 1, "a": 2}'), 400),
        (lambda api, _: api.post("executions", b'{"a": "' + b"x" * 1024**2 + b'"}'), 413),
        (lambda api, _: api.call("PUT", api.url("executions"), PLAIN), 405),
    ],
)
def test_both_paths_return_the_same_response(ours: TenantApi, request_: Request, status: int) -> None:
    without, with_framework = (
        comparable(without_the_framework(ours, request_)),
        comparable(with_the_framework(ours, request_)),
    )
    assert without == with_framework
    assert without[0] == status


def test_a_token_without_the_scope_is_rejected_each_time(ours: TenantApi) -> None:
    reads = ours.token(Scope.READ)
    for _ in range(3):
        refused(plain(ours, "key", token=reads), 403, "SCOPE_MISSING")
    assert not Execution.objects.filter(execution_key="key").exists()


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [
        ({"expiry": timezone.now()}, 401, "NOT_AUTHENTICATED"),
        ({"scopes": []}, 403, "SCOPE_MISSING"),
        (None, 401, "NOT_AUTHENTICATED"),
    ],
)
def test_a_cached_token_that_has_ended_is_rejected_immediately(
    ours: TenantApi, end: dict[str, Any] | None, status: int, code: str
) -> None:
    assert plain(ours, "key").status_code == 202
    tokens = ApiToken.objects.filter(tenant=ours.tenant)
    tokens.delete() if end is None else tokens.update(**end)
    refused(plain(ours, "another"), status, code)
    assert not Execution.objects.filter(execution_key="another").exists()


def test_another_tenants_address_is_unknown(ours: TenantApi) -> None:
    theirs = tenant_api()
    plain(theirs, "warming up")
    response = ours.post("executions", PLAIN, token=theirs.all_scopes)
    refused(response, 404, "NOT_FOUND")
    assert not Execution.objects.filter(execution_key="key").exists()
