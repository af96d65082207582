"""REST of submissions that name a release."""

from typing import Any

import pytest

from executions.api.submissions import RETRY_SECONDS
from executions.models import Execution
from foundation.api.pausing import PAUSE
from releases.activation import policy
from releases.activation.activation import activate
from releases.models import Release
from tests import making
from tests.api.tenant_api import TenantApi, fields, refused

pytestmark = pytest.mark.django_db
ACTOR = "user:test"


@pytest.fixture
def two(ours: TenantApi) -> TenantApi:
    """A tenant whose release 2.0 replaced 1.0 a moment ago, with a grace of an hour. 3.0 was never active."""
    for version in ("2.0", "3.0"):
        making.worker(making.registered(ours.tenant, version), f"worker-{version}")
    policy.change(ours.release.pipeline, {"skewGraceMinutes": 60}, actor=ACTOR)
    switch(ours, "2.0")
    return ours


def switch(ours: TenantApi, version: str) -> None:
    rows = Release.objects.select_related("pipeline__tenant")
    activate(rows.get(pipeline__tenant=ours.tenant, release_version=version), actor=ACTOR)


def body(version: Any = None, key: str = "k", **more: Any) -> dict[str, Any]:
    named = {} if version is None else {"releaseVersion": version}
    return {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": key, **named, **more}


def test_a_caller_gets_the_release_that_it_names(two: TenantApi) -> None:
    for version in ("1.0", "2.0"):
        response = two.post("executions", body(version, version))
        assert response.status_code == 202, response.content
        made = response.json()
        assert made["pin"]["releaseVersion"] == version
        [event] = two.get(f"executions/{made['executionId']}/events").json()["items"]
        assert event["data"]["requestedReleaseVersion"] == version
        assert two.post("executions", body(version, version)).json()["duplicate"]


def test_a_release_that_is_not_open_names_the_active_one(two: TenantApi) -> None:
    response = two.post("executions", body("3.0"))
    document = refused(response, 409, "RELEASE_NOT_OPEN")
    assert (document["activeReleaseVersion"], document["mayOpen"]) == ("2.0", True)
    assert response.headers["Retry-After"] == str(RETRY_SECONDS)
    policy.change(two.release.pipeline, {"skewGraceMinutes": 0}, actor=ACTOR)
    response = two.post("executions", body("1.0"))
    assert not refused(response, 409, "RELEASE_NOT_OPEN")["mayOpen"]
    assert "Retry-After" not in response.headers


def test_a_null_names_no_release(two: TenantApi) -> None:
    response = two.post("executions", {**body(), "releaseVersion": None, "waitSeconds": 0})
    assert response.json()["pin"]["releaseVersion"] == "2.0"


@pytest.mark.parametrize(
    ("members", "errors"),
    [
        ({"releaseVersion": "1.0", "expectedReleaseVersion": "1.0"}, {"releaseVersion": "INVALID"}),
        ({"waitSeconds": 1}, {"waitSeconds": "INVALID"}),
        ({"releaseVersion": "1.0", "waitSeconds": 31}, {"waitSeconds": "MAX_VALUE"}),
        ({"releaseVersion": "1.0", "waitSeconds": -1}, {"waitSeconds": "MIN_VALUE"}),
        ({"releaseVersion": "1.0", "waitSeconds": "1"}, {"waitSeconds": "NOT_INTEGER"}),
        ({"releaseVersion": "1.0", "waitSeconds": None}, {"waitSeconds": "NULL"}),
        ({"releaseVersion": 1}, {"releaseVersion": "NOT_TEXT"}),
    ],
)
def test_members_that_do_not_fit_are_rejected(two: TenantApi, members: dict[str, Any], errors: dict[str, str]) -> None:
    before = Execution.objects.count()
    assert fields(refused(two.post("executions", body(**members)), 400, "INVALID_REQUEST")) == errors
    assert Execution.objects.count() == before


def test_each_item_of_a_batch_names_its_release_and_none_waits(two: TenantApi) -> None:
    items = [
        body("1.0", "a"),
        body(None, "b"),
        body("3.0", "c"),
        body("3.0", "d", waitSeconds=30),
        body("2.0", "e", waitSeconds=0),
    ]
    results = two.post("executions:batch", {"items": items}).json()["items"]
    assert [each["status"] for each in results] == [202, 202, 409, 400, 202]
    pins = [each["execution"] and each["execution"]["pin"]["releaseVersion"] for each in results]
    assert pins == ["1.0", "2.0", None, None, "2.0"]
    assert [each["problem"] and each["problem"]["code"] for each in results[2:4]] == [
        "RELEASE_NOT_OPEN",
        "INVALID_REQUEST",
    ]


def test_a_request_waits_without_a_slot_until_its_release_is_active(two: TenantApi) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            switch(two, "3.0")

    response = two.post("executions", body("3.0", waitSeconds=10), **{PAUSE: pause})
    assert response.status_code == 202, response.content
    assert response.json()["pin"]["releaseVersion"] == "3.0"
    assert len(pauses) == 2
