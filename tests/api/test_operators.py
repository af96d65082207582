"""REST of operators: re-drives, cancellations, pauses, and dead letters."""

from typing import Any

import pytest

from executions.holds import holds
from executions.models import DeadLetter, Execution, ExecutionEvent, FailureGroup, Hold
from releases.models import Release
from tenancy.models import AuditEntry, Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.cases import cases
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
TABLES = (Execution, ExecutionEvent, DeadLetter, Hold)
PIPELINE = f"pipelines/{making.PIPELINE}"
WHY = {"reason": "broken"}


@pytest.fixture(scope="module")
def operator(owner: Tenant) -> Caller:
    return Caller(owner, Scope.READ, Scope.PAYLOADS, Scope.SUBMIT, Scope.OPERATE, Scope.ACTIVATE)


@pytest.fixture(scope="module")
def dead(owner: Tenant) -> list[Execution]:
    return making.dead(owner, "k0", "k1", "k2")


def everything() -> list[Any]:
    return [rows(table) for table in TABLES]


def pin_of(execution: Execution) -> dict[str, str]:
    return {
        "pipelineId": making.PIPELINE,
        "contractVersion": execution.contract_version,
        "releaseVersion": "1.0",
    }


# --- re-drive and cancel ---


def test_a_redrive_keeps_the_pin(operator: Caller, dead: list[Execution]) -> None:
    body = {"reason": "fixed", "expectedVersion": 2, "allowFailed": False}
    redriven = operator.post(f"executions/{dead[0].pk}/redrive", body)
    dead[0].refresh_from_db()
    assert redriven == {
        "executionId": str(dead[0].pk),
        "pin": pin_of(dead[0]),
        "previousStatus": "DLQ",
        "status": "QUEUED",
        "version": 3,
        "currentStepIndex": 0,
        "attempt": 1,
        "updatedAt": dead[0].updated_at.isoformat().replace("+00:00", "Z"),
    }
    event = dead[0].events.get(kind="REDRIVEN")
    assert (event.data["reason"], event.actor) == ("fixed", f"token:{operator.token}")


@cases("body", [None, {}, {"expectedVersion": None}, {"expectedVersion": 2.0}, {"reason": ""}])
def test_a_redrive_needs_no_body(operator: Caller, dead: list[Execution], body: Any) -> None:
    assert operator.post(f"executions/{dead[0].pk}/redrive", body)["status"] == "QUEUED"


def test_a_failed_execution_is_redriven_only_on_request(operator: Caller, owner: Tenant) -> None:
    [failed] = making.dead(owner, "failed", retryable=False)
    refused = operator.post(f"executions/{failed.pk}/redrive", status=409)
    assert (refused["code"], refused["executionStatus"]) == ("REDRIVE_REFUSED", "FAILED")
    assert operator.post(f"executions/{failed.pk}/redrive", {"allowFailed": True})["previousStatus"] == "FAILED"


@cases(
    ("act", "body", "status", "code"),
    [
        *(("redrive", {"expectedVersion": version}, 409, "VERSION_MISMATCH") for version in (0, 1, 3, 2**63 - 1)),
        *(("redrive", {"expectedVersion": version}, 400, "INVALID_REQUEST") for version in (2.5, True, 2**63)),
        ("redrive", {"reason": "x" * 1001}, 400, "INVALID_REQUEST"),
        ("cancel", {"allowFailed": True}, 400, "INVALID_REQUEST"),
        ("cancel", {}, 409, "CANCEL_REFUSED"),
        ("pause", WHY, 409, "PAUSE_REFUSED"),
    ],
)
def test_a_refused_act_changes_nothing(
    operator: Caller, dead: list[Execution], act: str, body: Any, status: int, code: str
) -> None:
    before = everything()
    refused = operator.post(f"executions/{dead[0].pk}/{act}", body, status)
    assert refused["code"] == code
    assert {"currentVersion": 2, "executionStatus": "DLQ"}.items() & refused.items() or status == 400
    assert everything() == before


def test_a_cancellation_returns_the_execution_and_can_be_repeated(operator: Caller, owner: Tenant) -> None:
    live = making.execution(owner)
    first = operator.post(f"executions/{live.pk}/cancel", {"reason": "a mistake"})
    assert (first["status"], first["version"]) == ("CANCELLED", 1)
    assert operator.post(f"executions/{live.pk}/cancel") == first
    refused = operator.post(f"executions/{live.pk}/redrive", status=409)
    assert refused["detail"] == f"Execution {live.pk} cannot be re-driven from status CANCELLED"


# --- dead letters ---


def test_a_dead_letter_shows_the_failure(operator: Caller, dead: list[Execution]) -> None:
    operator.post(f"executions/{dead[0].pk}/redrive")
    [letter] = operator.get(f"dead-letters?executionId={dead[0].pk}")["items"]
    assert letter.pop("createdAt")
    assert letter == {
        "executionId": str(dead[0].pk),
        "pin": pin_of(dead[0]),
        "idempotencyKey": "k0",
        "executionStatus": "QUEUED",
        "executionVersion": 2,
        "transitionKey": f"{dead[0].pk}:0:0",
        "terminalStatus": "DLQ",
        "reason": "retry_exhausted",
        "errorCode": "SomeError",
        "errorMessage": "why",
        "retryable": True,
        "retriesObserved": 0,
        "stepIndex": 0,
        "failedStepIndex": 0,
        "failureGroupId": str(FailureGroup.objects.get().pk),
    }


@cases(
    ("query", "keys"),
    [
        ("", {"k0", "k1", "k2", "failed"}),
        ("errorCode=SomeError", {"k0", "k1", "k2"}),
        ("errorCode=Other&reason=non_retryable", {"failed"}),
        ("reason=await_timeout", set()),
        ("releaseVersion=1.0&pipelineId=org.example.orders", {"k0", "k1", "k2", "failed"}),
        ("pipelineId=another", set()),
        ("releaseVersion=2.0", set()),
    ],
)
def test_dead_letters_are_filtered_and_come_in_pages(
    operator: Caller, owner: Tenant, dead: list[Execution], query: str, keys: set[str]
) -> None:
    making.dead(owner, "failed", code="Other", retryable=False)
    stranger, _ = making.ready()
    making.dead(stranger, "of another tenant")
    page = operator.get(f"dead-letters?{query}&pageSize=2".replace("?&", "?"))
    letters = page["items"] + (operator.http.get(page["next"]).json()["items"] if page["next"] else [])
    assert (len(letters), {letter["idempotencyKey"] for letter in letters}) == (len(keys), keys)


# --- pauses ---


def paused(hold: dict[str, Any]) -> dict[str, Any]:
    return {name: hold[name] for name in ("since", "by", "reason")}


def test_an_execution_is_paused_and_resumed(operator: Caller, owner: Tenant) -> None:
    submission = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": "k"}
    path = f"executions/{operator.post('executions', submission, 202)['executionId']}"
    hold = operator.post(f"{path}/pause", WHY, 201)
    assert hold == {
        "pipelineId": making.PIPELINE,
        "releaseVersion": "1.0",
        "executionId": path.removeprefix("executions/"),
        "since": Hold.objects.get().started_at.isoformat().replace("+00:00", "Z"),
        "by": f"token:{operator.token}",
        "reason": "broken",
        "refusesSubmissions": False,
        **dict.fromkeys(("resumedAt", "resumedBy", "resumeReason")),
    }
    assert operator.post(f"{path}/pause", {"reason": "again"}) == hold
    for shown in (operator.get(path), operator.get("executions")["items"][0], operator.post("executions", submission)):
        assert shown["paused"] == paused(hold)
    ended = operator.post(f"{path}/resume")
    assert ended["resumedAt"] > ended["since"]
    assert (ended["resumedBy"], ended["resumeReason"]) == (hold["by"], "")
    assert operator.get(path)["paused"] is operator.get("executions")["items"][0]["paused"] is None
    assert operator.post(f"{path}/resume", WHY, 409)["code"] == "NOT_PAUSED"


@cases("version", [None, "1.0"])
def test_a_pipeline_or_a_release_is_paused_and_resumed(operator: Caller, version: str | None) -> None:
    named = {} if version is None else {"releaseVersion": version}
    before = AuditEntry.objects.count()
    hold = operator.post(f"{PIPELINE}/pause", {**WHY, **named}, 201)
    assert (hold["releaseVersion"], hold["executionId"], hold["refusesSubmissions"]) == (version, None, False)
    assert operator.post(f"{PIPELINE}/pause", {**WHY, **named}) == hold
    expected = [paused(hold), None] if version is None else [None, paused(hold)]
    views, lists = (PIPELINE, f"{PIPELINE}/releases/1.0"), ("pipelines", f"{PIPELINE}/releases")
    assert [operator.get(view)["paused"] for view in views] == expected
    assert [operator.get(view)["items"][0]["paused"] for view in lists] == expected
    assert operator.post(f"{PIPELINE}/resume", named)["resumedAt"] is not None
    assert [operator.get(view)["paused"] for view in views] == [None, None]
    assert operator.post(f"{PIPELINE}/resume", named, 409)["code"] == "NOT_PAUSED"
    kind = "release" if version else "pipeline"
    assert [entry.act for entry in AuditEntry.objects.order_by("id")[before:]] == [f"{kind}.pause", f"{kind}.resume"]
    for act in ("pause", "resume"):
        assert operator.post(f"{PIPELINE}/{act}", {**WHY, "releaseVersion": "9"}, 404)["code"] == "RELEASE_UNKNOWN"


def test_a_paused_pipeline_refuses_submissions(operator: Caller) -> None:
    hold = operator.post(f"{PIPELINE}/pause", {**WHY, "refuseSubmissions": True}, 201)
    assert hold["refusesSubmissions"] is True
    submission = {"pipelineId": making.PIPELINE, "input": {"n": 1}, "idempotencyKey": "k"}
    refused = operator.post("executions", submission, 409)
    assert (refused["code"], refused["reason"]) == ("PIPELINE_PAUSED", "broken")
    assert refused["since"] == Hold.objects.get().started_at.isoformat()
    operator.post(f"{PIPELINE}/resume")
    assert operator.post("executions", submission, 202)["paused"] is None


def test_the_list_has_the_open_holds_newest_first(operator: Caller, ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    made = making.execution(owner)
    for target in (made, release, release.pipeline, making.ready()[1]):
        holds.pause(target, actor="user:eva", reason="broken")
    listed = operator.get("holds")["items"]
    assert [(each["executionId"], each["releaseVersion"]) for each in listed] == [
        (None, None),
        (None, "1.0"),
        (str(made.pk), "1.0"),
    ]
    operator.post(f"{PIPELINE}/resume")
    assert operator.get("holds")["items"] == listed[1:]
