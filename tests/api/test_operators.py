"""REST of operators: re-drives and cancellations of executions, and dead letters."""

from typing import Any

import pytest

from executions.models import DeadLetter, Execution, ExecutionEvent, FailureGroup
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.cases import cases
from tests.raw_sql import rows

pytestmark = pytest.mark.django_db
TABLES = (Execution, ExecutionEvent, DeadLetter)


@pytest.fixture(scope="module")
def operator(owner: Tenant) -> Caller:
    return Caller(owner, Scope.OPERATE, Scope.READ, Scope.PAYLOADS)


@pytest.fixture(scope="module")
def dead(owner: Tenant) -> list[Execution]:
    return making.dead(owner, "k0", "k1", "k2")


def everything() -> list[Any]:
    return [rows(table) for table in TABLES]


# --- re-drive and cancel ---


def test_a_redrive_keeps_the_pin(operator: Caller, dead: list[Execution]) -> None:
    body = {"reason": "fixed", "expectedVersion": 2, "allowFailed": False}
    redriven = operator.post(f"executions/{dead[0].pk}/redrive", body)
    pin = {
        "pipelineId": making.PIPELINE,
        "contractVersion": dead[0].contract_version,
        "releaseVersion": "1.0",
    }
    dead[0].refresh_from_db()
    assert redriven == {
        "executionId": str(dead[0].pk),
        "pin": pin,
        "previousStatus": "DLQ",
        "status": "QUEUED",
        "version": 3,
        "currentStepIndex": 0,
        "attempt": 1,
        "updatedAt": dead[0].updated_at.isoformat().replace("+00:00", "Z"),
    }
    event = dead[0].events.get(kind="REDRIVEN")
    assert event.data["reason"] == "fixed"
    assert event.actor.startswith("token:")


@cases("body", [None, {}, {"expectedVersion": None}, {"expectedVersion": 2.0}, {"reason": ""}])
def test_a_redrive_needs_no_body(operator: Caller, dead: list[Execution], body: Any) -> None:
    assert operator.post(f"executions/{dead[0].pk}/redrive", body)["status"] == "QUEUED"


def test_a_failed_execution_is_redriven_only_on_request(operator: Caller, owner: Tenant) -> None:
    [failed] = making.dead(owner, "failed", retryable=False)
    refused = operator.post(f"executions/{failed.pk}/redrive", status=409)
    assert (refused["code"], refused["executionStatus"]) == ("REDRIVE_REFUSED", "FAILED")
    assert operator.post(f"executions/{failed.pk}/redrive", {"allowFailed": True})["previousStatus"] == "FAILED"


def test_an_outdated_version_is_rejected_without_effect(operator: Caller, dead: list[Execution]) -> None:
    before = everything()
    for version in (0, 1, 3, 2**63 - 1):
        refused = operator.post(f"executions/{dead[0].pk}/redrive", {"expectedVersion": version}, 409)
        assert (refused["code"], refused["currentVersion"]) == ("VERSION_MISMATCH", 2)
    assert everything() == before


def test_a_cancellation_returns_the_execution_and_can_be_repeated(operator: Caller, owner: Tenant) -> None:
    live = making.execution(owner)
    first = operator.post(f"executions/{live.pk}/cancel", {"reason": "a mistake"})
    again = operator.post(f"executions/{live.pk}/cancel")
    assert (first["status"], first["version"]) == ("CANCELLED", 1)
    assert again == first
    refused = operator.post(f"executions/{live.pk}/redrive", status=409)
    assert refused["detail"] == f"Execution {live.pk} cannot be re-driven from status CANCELLED"


def test_a_finished_execution_cannot_be_cancelled(operator: Caller, dead: list[Execution]) -> None:
    before = everything()
    refused = operator.post(f"executions/{dead[0].pk}/cancel", status=409)
    assert (refused["code"], refused["executionStatus"]) == ("CANCEL_REFUSED", "DLQ")
    assert everything() == before


# --- dead letters ---


def test_a_dead_letter_shows_the_failure(operator: Caller, dead: list[Execution]) -> None:
    operator.post(f"executions/{dead[0].pk}/redrive")
    found = operator.get(f"dead-letters?executionId={dead[0].pk}")["items"]
    assert len(found) == 1
    letter = found[0]
    assert letter.pop("createdAt")
    assert letter == {
        "executionId": str(dead[0].pk),
        "pin": {
            "pipelineId": making.PIPELINE,
            "contractVersion": dead[0].contract_version,
            "releaseVersion": "1.0",
        },
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
def test_dead_letters_are_filtered(
    operator: Caller, owner: Tenant, dead: list[Execution], query: str, keys: set[str]
) -> None:
    making.dead(owner, "failed", code="Other", retryable=False)
    stranger, _ = making.ready()
    making.dead(stranger, "of another tenant")
    assert {letter["idempotencyKey"] for letter in operator.get(f"dead-letters?{query}")["items"]} == keys


def test_dead_letters_come_in_pages(operator: Caller, dead: list[Execution]) -> None:
    first = operator.get("dead-letters?pageSize=2")
    response = operator.http.get(first["next"]).json()
    keys = [letter["idempotencyKey"] for letter in first["items"] + response["items"]]
    assert (sorted(keys), response["next"]) == (["k0", "k1", "k2"], None)


@cases("query", ["reason=nonsense", "cursor=xyz", "executionId=1"])
def test_an_invalid_filter_of_dead_letters_is_rejected(operator: Caller, query: str) -> None:
    assert operator.get(f"dead-letters?{query}", 400)["code"] == "INVALID_REQUEST"


# --- rejected requests ---


@cases(
    ("path", "body", "field", "code"),
    [
        ("executions/{id}/redrive", {"expectedVersion": 2.5}, "expectedVersion", "NOT_INTEGER"),
        ("executions/{id}/redrive", {"expectedVersion": True}, "expectedVersion", "NOT_INTEGER"),
        ("executions/{id}/redrive", {"expectedVersion": 2**63}, "expectedVersion", "MAX_VALUE"),
        ("executions/{id}/redrive", {"allowFailed": 1}, "allowFailed", "NOT_BOOLEAN"),
        ("executions/{id}/redrive", {"reason": "x" * 1001}, "reason", "MAX_LENGTH"),
        ("executions/{id}/cancel", {"allowFailed": True}, "allowFailed", "UNKNOWN_MEMBER"),
    ],
)
def test_an_invalid_body_is_rejected_member_by_member(
    operator: Caller, dead: list[Execution], path: str, body: Any, field: str, code: str
) -> None:
    before = everything()
    refused = operator.post(path.format(id=dead[0].pk), body, 400)
    assert refused["code"] == "INVALID_REQUEST"
    assert (field, code) in [(error["field"], error["code"]) for error in refused["errors"]]
    assert everything() == before
