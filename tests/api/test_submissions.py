"""Submissions: with a cached token they are served without the framework. Batches have a result for each item."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.models import Execution
from executions.submission.api import RETRY_SECONDS
from foundation.api.streaming import PAUSE
from governance.activation.activation import activate
from releases import policy
from tenancy.api import authentication
from tenancy.roles import Scope
from tests import gradual, making
from tests.api.tenant_api import TenantApi, fields, refused, unchanged
from tests.cases import cases

# The members that differ between executions.
OWN = ("executionId", "createdAt", "nextDueAt", "updatedAt", "links", "idempotencyKey")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
Request = Callable[[TenantApi, str], Any]


def item(key: str, **members: Any) -> dict[str, Any]:
    return {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": key, **members}


def plain(api: TenantApi, key: str, **more: Any) -> Any:
    return api.post("executions", item(key, **more.pop("members", {})), **more)


def comparable(response: Any) -> tuple[int, str]:
    """Return the status and the rest of the response, without ids and headers that only the framework adds."""
    headers = {name: value for name, value in response.headers.items() if name not in {"Location", "Allow"}}
    document = {name: value for name, value in json.loads(response.content).items() if name not in OWN}
    return response.status_code, UUID.sub("ID", f"{headers} {document}").replace("warm", "cold")


@cases(
    ("request_", "status"),
    (plain, 202),
    (lambda api, key: [plain(api, key), plain(api, key)][1], 200),
    (lambda api, key: plain(api, key, headers={"Accept": "text/html"}), 406),
    (lambda api, key: plain(api, key, content_type="text/plain"), 415),
    (lambda api, key: plain(api, key, members={"expectedReleaseVersion": "9.9"}), 409),
    (lambda api, key: plain(api, key, members={"extra": 1}), 400),
    (lambda api, key: [plain(api, key), plain(api, key, members={"input": {"n": 2}})][1], 409),
    (lambda api, _: api.post("executions", {"pipelineId": making.PIPELINE, "input": {"n": 1}}), 400),
    (lambda api, _: api.post("executions", b'{"a": 1, "a": 2}'), 400),
    (lambda api, _: api.post("executions", b'{"a": "' + b"x" * 1024**2 + b'"}'), 413),
    (lambda api, _: api.call("PUT", api.url("executions"), item("key")), 405),
)
def test_both_paths_return_the_same_response(ours: TenantApi, request_: Request, status: int) -> None:
    assert plain(ours, "warming up").status_code == 202
    without_the_framework = comparable(request_(ours, "warm"))
    authentication.cache.clear()
    assert without_the_framework == comparable(request_(ours, "cold"))
    assert without_the_framework[0] == status


def test_another_tenants_address_is_unknown(ours: TenantApi, theirs: TenantApi) -> None:
    plain(theirs, "warming up")
    refused(plain(ours, "key", token=theirs.all_scopes), 404, "NOT_FOUND")
    assert not Execution.objects.filter(execution_key="key").exists()


@pytest.fixture
def two(ours: TenantApi) -> TenantApi:
    """A tenant whose release 2.0 replaced 1.0 a moment ago, with a grace of an hour. 3.0 was never active."""
    for version in ("2.0", "3.0"):
        making.worker(making.registered(ours.tenant, version), f"worker-{version}")
    policy.change(ours.release.pipeline, {"skewGraceMinutes": 60}, actor="user:test")
    switch(ours, "2.0")
    return ours


def switch(ours: TenantApi, version: str) -> None:
    activate(making.release_of(ours.tenant, version), actor="user:test")


def test_a_caller_gets_the_release_that_it_names(two: TenantApi) -> None:
    for version in ("1.0", "2.0"):
        response = two.post("executions", item(version, releaseVersion=version))
        assert response.status_code == 202, response.content
        made = response.json()
        assert made["pin"]["releaseVersion"] == version
        [event] = two.get(f"executions/{made['executionId']}/events").json()["items"]
        assert event["data"]["requestedReleaseVersion"] == version
        assert two.post("executions", item(version, releaseVersion=version)).json()["duplicate"]
    unnamed = two.post("executions", item("k", releaseVersion=None, waitSeconds=0))
    assert unnamed.json()["pin"]["releaseVersion"] == "2.0"


def test_a_release_that_is_not_open_names_the_active_one(two: TenantApi) -> None:
    response = two.post("executions", item("k", releaseVersion="3.0"))
    document = refused(response, 409, "RELEASE_NOT_OPEN")
    assert (document["activeReleaseVersion"], document["mayOpen"]) == ("2.0", True)
    assert response.headers["Retry-After"] == str(RETRY_SECONDS)
    policy.change(two.release.pipeline, {"skewGraceMinutes": 0}, actor="user:test")
    response = two.post("executions", item("k", releaseVersion="1.0"))
    assert not refused(response, 409, "RELEASE_NOT_OPEN")["mayOpen"]
    assert "Retry-After" not in response.headers


@cases(
    ("members", "errors"),
    ({"releaseVersion": "1.0", "expectedReleaseVersion": "1.0"}, {"releaseVersion": "INVALID"}),
    ({"waitSeconds": 1}, {"waitSeconds": "INVALID"}),
)
def test_members_that_do_not_fit_are_rejected(two: TenantApi, members: dict[str, Any], errors: dict[str, str]) -> None:
    before = Execution.objects.count()
    assert fields(refused(two.post("executions", item("k") | members), 400, "INVALID_REQUEST")) == errors
    assert Execution.objects.count() == before


def test_a_request_waits_without_a_slot_until_its_release_is_active(two: TenantApi) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            switch(two, "3.0")

    response = two.post("executions", item("k", releaseVersion="3.0", waitSeconds=10), **{PAUSE: pause})
    assert response.status_code == 202, response.content
    assert (response.json()["pin"]["releaseVersion"], len(pauses)) == ("3.0", 2)


def test_routing_keys_and_tags_of_a_submission(ours: TenantApi) -> None:
    """A gradual activation whose candidate gets no share, but the executions of two groups."""
    gradual.candidate(ours.tenant)
    steps = [{"share": 0, "minimumSample": 20, "minimumMinutes": 0}]
    plan = {"releaseVersion": "2.0", "steps": steps, "groups": {"tags": ["beta"], "tokens": ["client-1"]}}
    assert ours.post("pipelines/{pipeline_id}/gradual-activations", plan).status_code == 201
    named = {"routingKey": "customer-7", "tags": ["beta", "eu"]}
    for key in ("cold", "warm"):
        response = plain(ours, key, members=named)
        assert response.status_code == 202, response.content
        made = response.json()
        assert (made["pin"]["releaseVersion"], made["tags"]) == ("2.0", ["beta", "eu"])
        again = plain(ours, key, members={**named, "tags": []}).json()
        assert (again["duplicate"], again["tags"]) == (True, ["beta", "eu"])
        assert ours.get(f"executions/{made['executionId']}").json()["tags"] == ["beta", "eu"]
    unnamed: dict[str, Any] = {"tags": [], "routingKey": None}
    assert plain(ours, "plain", members=unnamed).json()["pin"]["releaseVersion"] == "1.0"
    by_group = plain(ours, "group", members=unnamed, token=ours.token(Scope.SUBMIT)).json()
    assert (by_group["submittedBy"], by_group["pin"]["releaseVersion"]) == ("token:client-1", "2.0")


PATH = "executions:batch"


def verdicts(ours: TenantApi, *items: Any) -> list[dict[str, Any]]:
    response = ours.post(PATH, {"items": list(items)})
    assert response.status_code == 200, response.content
    results: list[dict[str, Any]] = json.loads(response.content)["items"]
    assert len(results) == len(items)
    return results


def test_a_rejected_item_does_not_affect_the_others(ours: TenantApi) -> None:
    verdicts(ours, item("taken", input={"n": 0}))
    results = verdicts(
        ours,
        item("one"),
        item("taken"),
        item("unknown", pipelineId="no.such.pipeline"),
        "no object",
        item("x", extra=1),
        item("other", expectedReleaseVersion="0.9"),
        item("taken", input={"n": 0}),
        item("last"),
    )
    assert [result["status"] for result in results] == [202, 409, 404, 400, 400, 409, 200, 202]
    codes = [result["problem"]["code"] for result in results if result["problem"]]
    assert [result["execution"] is None for result in results] == [result["problem"] is not None for result in results]
    invalid = ["INVALID_REQUEST"] * 2
    assert codes == ["IDEMPOTENCY_KEY_REUSED", "PIPELINE_UNKNOWN", *invalid, "ACTIVE_RELEASE_CHANGED"]
    assert fields(results[4]["problem"]) == {"extra": "UNKNOWN_MEMBER"}
    assert Execution.objects.filter(execution_key__in=["one", "last"]).count() == 2


@cases(
    ("body", "expected"),
    ({}, {"items": "REQUIRED"}),
    ({"items": []}, {"items": "MIN_LENGTH"}),
    ({"items": [item("k")] * 1001}, {"items": "MAX_LENGTH"}),
)
def test_an_invalid_batch_is_rejected(ours: TenantApi, body: dict[str, Any], expected: dict[str, str]) -> None:
    with unchanged():
        assert fields(refused(ours.post(PATH, body), 400, "INVALID_REQUEST")) == expected


def test_a_submission_says_when_it_starts_and_a_batch_judges_each_item(ours: TenantApi) -> None:
    day, years = timezone.now() + timedelta(days=1), timezone.now() + timedelta(days=700)
    first, last = f"{day:%Y-%m-%d}T12:00:00", f"{day + timedelta(days=1):%Y-%m-%d}T12:00:00Z"
    response = plain(ours, "later", members={"notBefore": f"{first}-01:00", "expiresAt": last, "priority": "high"})
    shown = response.json()
    at = first.replace("T12", "T13") + "Z"
    assert (response.status_code, shown["notBefore"], shown["nextDueAt"]) == (202, at, at)
    assert (shown["expiresAt"], shown["priority"], shown["status"]) == (last, "high", "QUEUED")
    assert ours.get(f"executions/{shown['executionId']}").json()["expiresAt"] == last
    assert plain(ours, "later").json()["duplicate"], "the start is no part of what a key stands for"
    times = [("notBefore", years.isoformat()), ("expiresAt", "2020-01-01T00:00:00Z"), ("notBefore", "noon")]
    wrong = [*times, *(("priority", name) for name in ("urgent", None, 1))]
    items = [item(str(n), **{name: value}) for n, (name, value) in enumerate([("priority", "low"), *wrong])]
    taken, *others = verdicts(ours, *items)
    assert (taken["status"], taken["execution"]["priority"]) == (202, "low")
    assert {verdict["status"] for verdict in others} == {400}
    assert [verdict["problem"]["errors"][0]["field"] for verdict in others] == [name for name, _ in wrong]
