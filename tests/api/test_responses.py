"""What the responses about pipelines, releases, activations and executions contain."""

from datetime import UTC, datetime
from typing import Any

import pytest

from executions.lifecycle import outcome
from executions.models import Execution
from releases.activation.activation import activate
from releases.models import Release
from releases.registration.registrar import verify_release
from tests import making
from tests.api.furnished import conforms
from tests.api.tenant_api import TenantApi, upload
from tests.cases import cases
from wire.messages.celery_messages import OutcomeGroup

TRACEBACK = 'Traceback (most recent call last):\n  File "orders.py", line 1, in act\nBadThing: why'
pytestmark = pytest.mark.django_db
PIPELINE = "pipelines/{pipeline_id}"
RELEASES = f"{PIPELINE}/releases"
EXECUTION = "executions/{execution_id}"


def test_a_release_is_uploaded_and_verified(ours: TenantApi, document: dict[str, Any]) -> None:
    response = ours.post(RELEASES, upload("2.0"))
    taken = conforms(document, "POST", RELEASES, response)
    assert (response.status_code, taken["status"], taken["contract"], taken["active"]) == (202, "UPLOADED", None, False)
    assert response.headers["Location"] == f"http://testserver{ours.url(RELEASES)}/2.0"
    [artifact] = taken["artifacts"]
    assert artifact["size"] > 0
    assert artifact["stepIds"] == artifact["capabilities"] == []
    refused = ours.post(f"{PIPELINE}/activations", {"releaseVersion": "2.0"}).json()
    assert (refused["code"], refused["releaseStatus"]) == ("RELEASE_NOT_REGISTERED", "UPLOADED")
    verify_release(Release.objects.get(release_version="2.0", pipeline=ours.release.pipeline).pk)
    response = ours.post(RELEASES, upload("2.0"))
    again = conforms(document, "POST", RELEASES, response)
    assert (response.status_code, again["status"]) == (200, "REGISTERED")
    assert again["contract"]["contractVersion"] == again["contractVersion"]
    assert again["uploadedBy"].startswith("token:client-")
    assert ours.call("GET", response.headers["Location"]).json() == again


def test_activations_show_actor_release_and_rollback(ours: TenantApi) -> None:
    making.registered(ours.tenant, "2.0")
    path = f"{PIPELINE}/activations"
    ours.post(path, {"releaseVersion": "2.0"})
    body = {"releaseVersion": "1.0", "reason": "2.0 is wrong", "expectedReleaseVersion": "2.0", "operationKey": "k"}
    first, repeated = ours.post(path, body), ours.post(path, body)
    made = first.json()
    assert (first.status_code, repeated.status_code, repeated.json()) == (201, 201, made)
    assert (made["sequence"], made["rollback"], made["previousReleaseVersion"]) == (3, True, "2.0")
    assert (made["reason"], made["actor"]) == ("2.0 is wrong", "token:client-0")
    history = ours.get(path).json()["items"]
    assert [event["sequence"] for event in history] == [3, 2, 1]
    assert history[0] == made


@cases("failed", [True, False])
def test_a_finished_execution_shows_its_result_or_error(
    ours: TenantApi, document: dict[str, Any], failed: bool
) -> None:
    before = ours.get(f"{EXECUTION}/result").json()
    assert (before["status"], before["result"]) == ("QUEUED", None)
    [claim] = making.claimed(ours.tenant)
    failure = making.failure(claim, "BadThing", retryable=False, traceback=TRACEBACK)
    reported = failure if failed else making.outcome_of(claim)
    outcome.record(ours.release.identity, OutcomeGroup(worker_id="w", outcomes=[reported]))
    shown, result, events = (
        conforms(document, "GET", EXECUTION + path, ours.get(EXECUTION + path)) for path in ("", "/result", "/events")
    )
    status = "FAILED" if failed else "SUCCEEDED"
    assert shown["status"] == result["status"] == events["items"][-1]["status"] == status
    assert shown["error"] == ({"code": "BadThing", "message": "why", "traceback": TRACEBACK} if failed else None)
    assert events["items"][-1]["data"].get("traceback") == (TRACEBACK if failed else None)
    assert result["result"] == (None if failed else {"n": 1})
    assert [event["sequence"] for event in events["items"]] == [1, 2, 3]
    assert datetime.fromisoformat(shown["finishedAt"]) >= datetime.fromisoformat(shown["createdAt"])


def test_an_error_without_a_traceback_shows_none(ours: TenantApi) -> None:
    """The traceback of an earlier failure is not shown with a later one."""
    for message, traceback in (("first", TRACEBACK), ("second", "")):
        [claim] = making.claimed(ours.tenant)
        failed = making.failure(claim, "BadThing", message=message, traceback=traceback)
        outcome.record(ours.release.identity, OutcomeGroup(worker_id="w", outcomes=[failed]))
        shown = ours.get(EXECUTION).json()
        assert shown["error"] == {"code": "BadThing", "message": message, "traceback": traceback}
        Execution.objects.filter(pk=claim.execution_id).update(next_due_at=datetime(2026, 1, 1, tzinfo=UTC))


def test_rows_that_are_added_between_pages_do_not_move_the_others(ours: TenantApi) -> None:
    for _ in range(3):
        activate(ours.release, actor="")
    path = f"{PIPELINE}/activations?pageSize=2"
    first = ours.get(path).json()
    activate(ours.release, actor="")
    second = ours.call("GET", first["next"]).json()
    assert [event["sequence"] for event in first["items"] + second["items"]] == [4, 3, 2, 1]
    assert ours.get(path).json()["items"][0]["sequence"] == 5
    assert ours.call("GET", second["previous"]).json()["items"] == first["items"]
    assert second["next"] is None
