"""What the responses about pipelines, releases, activations and executions contain."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from executions.lifecycle import outcome
from executions.models import Execution
from releases.activation.activation import activate
from releases.models import Release
from releases.registration.registrar import verify_release
from tests import making
from tests.api.endpoints import SUBMISSION
from tests.api.furnished import conforms
from tests.api.tenant_api import TenantApi, upload
from tests.cases import cases
from wire.messages.celery_messages import OutcomeGroup

TRACEBACK = 'Traceback (most recent call last):\n  File "orders.py", line 1, in act\nBadThing: why'
pytestmark = pytest.mark.django_db
PIPELINE = "pipelines/{pipeline_id}"
RELEASES = f"{PIPELINE}/releases"
EXECUTION = "executions/{execution_id}"


def test_the_document_is_served_without_a_token(document: dict[str, Any]) -> None:
    assert Client().get("/api/schema/?format=json").json() == document


def test_a_pipeline_shows_its_active_release(ours: TenantApi) -> None:
    active = ours.get(PIPELINE).json()
    assert active == ours.get("pipelines").json()["items"][0]
    assert active["activeReleaseVersion"] == "1.0"
    assert active["activeContractVersion"] == ours.release.contract_version
    making.registered(ours.tenant, pipeline_id="org.example.idle")
    idle = ours.get("pipelines/org.example.idle").json()
    assert (idle["activeReleaseVersion"], idle["activeContractVersion"], idle["reasonRequired"]) == (None, None, False)


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


def test_a_release_shows_the_environment_that_its_artifact_requires(ours: TenantApi, document: dict[str, Any]) -> None:
    contract = making.contract()
    python = {"implementation": "cpython", "version": "3.12.1", "platform": "linux-x86_64"}
    entries = {"python.json": json.dumps(python), "requirements.lock": "attrs==25.1.0\nmine @ file:///srv/mine\n"}
    data = making.archive(contract, **{f"META-INF/pipeline/{name}": text for name, text in entries.items()})
    making.verified(making.upload(ours.tenant, making.descriptor(contract, data, "2.0"), data).release)
    shown = conforms(document, "GET", f"{RELEASES}/{{release_version}}", ours.get(f"{RELEASES}/2.0"))
    distributions = [{"name": "attrs", "version": "25.1.0"}, {"name": "mine", "version": ""}]
    assert shown["artifacts"][0]["environment"] == {**python, "distributions": distributions}
    assert ours.get(f"{RELEASES}/1.0").json()["artifacts"][0]["environment"] is None


def test_a_rejected_release_shows_each_finding(ours: TenantApi, document: dict[str, Any]) -> None:
    form = upload("2.0")
    del form["artifact"]
    assert ours.post(RELEASES, form).status_code == 202
    verify_release(Release.objects.get(release_version="2.0", pipeline=ours.release.pipeline).pk)
    shown = conforms(document, "GET", f"{RELEASES}/{{release_version}}", ours.get(f"{RELEASES}/2.0"))
    assert shown["status"] == "REJECTED"
    assert [(each["code"], each["severity"]) for each in shown["findings"]] == [("ARTIFACT_FILE_MISSING", "error")]


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


def test_a_submission_returns_202_with_the_pin_and_valid_links(ours: TenantApi, document: dict[str, Any]) -> None:
    response = ours.post("executions", SUBMISSION)
    made = conforms(document, "POST", "executions", response)
    assert (response.status_code, made["duplicate"], made["status"], made["error"]) == (202, False, "QUEUED", None)
    assert made["pin"] == {
        "pipelineId": making.PIPELINE,
        "contractVersion": ours.release.contract_version,
        "releaseVersion": "1.0",
    }
    assert response.headers["Location"] == made["links"]["self"]
    assert {key: ours.call("GET", url).status_code for key, url in made["links"].items()} == {
        "self": 200,
        "result": 200,
        "events": 200,
        "provenance": 200,
    }
    again = ours.post("executions", SUBMISSION)
    assert (again.status_code, again.json()) == (200, {**made, "duplicate": True})


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


def test_a_worker_shows_its_release_and_state(ours: TenantApi) -> None:
    [worker] = ours.get("workers").json()["items"]
    assert (worker["workerId"], worker["state"], worker["capacity"]) == ("worker-1", "HEALTHY", 10)
    assert worker["pin"]["releaseVersion"] == "1.0"


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
