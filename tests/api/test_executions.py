import json
from typing import Any

import pytest

from executions.awaits import questions
from executions.models import DeadLetter, Execution
from governance.smoke_tests import smoke_tests
from releases.models import Release
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.tenant_api import Caller
from tests.cases import cases
from tests.raw_sql import slow, unguarded

SECRET = "the-secret-payload"
Ready = tuple[Tenant, Release]


@pytest.fixture(scope="module")
def reader(owner: Tenant) -> Caller:
    return Caller(owner, Scope.READ)


@pytest.fixture(scope="module")
def stranger(module_world: None) -> Caller:
    return Caller(making.tenant(), Scope.READ)


@pytest.fixture
def two(owner: Tenant) -> tuple[Execution, Execution]:
    """A failed execution, and a queued one with a tag."""
    [dead] = making.dead(owner, "order-1", code="NO_FUNDS")
    queued = making.execution(owner, "order-2")
    with unguarded(Execution), unguarded(Release):
        Release.objects.update(created_at="2026-01-01T11:00:00Z")  # no release is newer than its executions
        Execution.objects.filter(pk=queued.pk).update(
            tags=["customer=42"], submitted_by="user:eva", created_at="2026-01-01T12:00:00Z", current_step_index=1
        )
    return dead, queued


def keys(caller: Caller, query: str) -> list[str]:
    return sorted(item["idempotencyKey"] for item in caller.get(f"executions?{query}")["items"])


@cases(
    ("query", "numbers"),
    ("errorCode=NO_FUNDS", "1"),
    ("submittedBy=user:eva", "2"),
    ("tag=customer=42", "2"),
    ("prefix=order-", "12"),
    ("prefix=rder-2", ""),
    ("stepIndex=1", "2"),
    ("createdTo=2026-01-01T12:00:00Z", ""),
    ("finishedFrom=2026-01-01T12:00:00Z", "1"),
    ("prefix=order-&tag=customer=42&stepIndex=1&status=QUEUED", "2"),
    ("status=DLQ", "1"),
    ("pipelineId=org.example.orders&releaseVersion=1.0", "12"),
    ("idempotencyKey=order-1", "1"),
)
def test_a_filter_selects_executions(reader: Caller, stranger: Caller, two: Any, query: str, numbers: str) -> None:
    assert keys(reader, query) == [f"order-{number}" for number in numbers]
    assert keys(stranger, query) == []


def test_a_wrong_condition_on_a_value_is_named(reader: Caller, two: Any) -> None:
    """The values themselves are found in tests/executions/search, and on the running product."""
    refused = reader.get("executions?search.total.from=x&search..to=1", 400)
    assert {error["field"]: error["code"] for error in refused["errors"]} == {
        "search.total.from": "INVALID",
        "search..to": "UNKNOWN",
    }
    for query, code in (("search.total=1", "UNKNOWN"), ("search.total=", "BLANK")):
        [error] = reader.get(f"executions?{query}", 400)["errors"]
        assert (error["field"], error["code"]) == ("search.total", code)


def test_the_message_and_the_traceback_of_an_error_are_payloads_and_its_code_is_not(owner: Tenant) -> None:
    made = making.execution(owner, "failed", {"text": SECRET})
    [claim] = making.claimed(owner)
    making.record(making.failure(claim, "NO_FUNDS", retryable=False, message=SECRET, traceback=SECRET))
    body = {"pipelineId": making.PIPELINE, "input": {"text": SECRET}, "idempotencyKey": "failed"}
    path = f"executions/{made.pk}"
    for more, shown in (((Scope.PAYLOADS,), SECRET), ((), None)):
        caller, error = Caller(owner, Scope.READ, *more), {"code": "NO_FUNDS", "message": shown}
        assert caller.get(path)["error"] == {**error, "traceback": shown}
        assert caller.get("executions")["items"][0]["error"] == error
        data = caller.get(f"{path}/events")["items"][-1]["data"]
        assert (data["errorCode"], data.get("errorMessage"), data.get("traceback")) == ("NO_FUNDS", shown, shown)
        [letter] = caller.get("dead-letters")["items"]
        assert (letter["errorCode"], letter["errorMessage"]) == ("NO_FUNDS", shown)
        submitter = Caller(owner, Scope.SUBMIT, *more)
        for _ in range(2):  # the second request has a cached token
            assert submitter.post("executions", body)["error"] == error
        [item] = submitter.post("executions:batch", {"items": [body]})["items"]
        assert item["execution"]["error"] == error


def test_the_result_and_the_expected_result_of_a_smoke_test_are_payloads(ready: Ready) -> None:
    owner, release = ready
    made = making.execution(owner, "done")
    [claim] = making.claimed(owner)
    making.record(making.outcome_of(claim, output_payloads=[json.dumps({"text": SECRET})]))
    path = f"executions/{made.pk}/result"
    refused = Caller(owner, *(set(Scope) - {Scope.PAYLOADS})).get(path, 403)
    assert (refused["code"], SECRET in json.dumps(refused)) == ("SCOPE_MISSING", False)
    assert Caller(owner, Scope.PAYLOADS).get(path)["result"] == {"text": SECRET}
    expected = {"text": SECRET}
    smoke_tests.start(release, input={"n": 1}, idempotency_key="smoke", expected_result=expected, actor="user:ann")
    for scopes, shown in (((Scope.READ,), None), ((Scope.READ, Scope.PAYLOADS), expected)):
        [test] = Caller(owner, *scopes).get(f"pipelines/{making.PIPELINE}/releases/1.0/smoke")["items"]
        assert (test["expectsResult"], test["expectedResult"]) == (True, shown)


@cases(
    ("scopes", "visible"),
    ((Scope.READ, Scope.PAYLOADS), True),
    ((Scope.READ, Scope.ANSWER), True),
    (tuple(set(Scope) - {Scope.PAYLOADS, Scope.ANSWER}), False),
)
def test_readers_and_those_who_answer_see_questions(owner: Tenant, scopes: tuple[Scope, ...], visible: bool) -> None:
    made = making.execution(owner, "asks")
    [claim] = making.claimed(owner)
    making.record(making.suspension(claim, requests=[json.dumps({"text": SECRET})], timeout_seconds=86_400.0))
    question = made.await_units.get().interactions.get()
    questions.answer(owner, question_id=question.pk, response={"text": SECRET}, actor="user:eva")
    caller = Caller(owner, *scopes)
    for shown in (caller.get(f"questions/{question.pk}"), *caller.get("questions")["items"]):
        assert (shown["request"], shown["response"]) == (({"text": SECRET},) * 2 if visible else (None, None))
        assert shown["actor"] == "user:eva"


def test_a_slow_list_says_how_to_narrow_the_search(reader: Caller, settings: Any) -> None:
    settings.LIST_SECONDS = 0.1
    with slow(DeadLetter):
        problem = reader.get("dead-letters", status=422)
    assert (problem["code"], problem["detail"].partition(". ")[2]) == (
        "QUERY_TOO_SLOW",
        "Add a condition, such as a time.",
    )
