"""Which tokens get payloads from the API: those with the scope `payloads:read`."""

import json
from typing import Any

from executions.awaits import interactions
from executions.lifecycle import outcome
from executions.models import Execution, Interaction
from executions.smoke_tests import smoke_tests
from releases.models import Release
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from tests.cases import cases
from wire.messages.celery_messages import OutcomeGroup

SECRET = "the-secret-payload"


def record(release: Release, *outcomes: Any) -> None:
    group = OutcomeGroup(worker_id="w", outcomes=list(outcomes))
    assert outcome.record(release.identity, group) == len(outcomes)


def failed(ready: tuple[Tenant, Release]) -> Execution:
    owner, release = ready
    made = making.execution(owner, "failed", {"text": SECRET})
    [claim] = making.claimed(owner)
    record(release, making.failure(claim, "NO_FUNDS", retryable=False, message=SECRET, traceback=SECRET))
    return made


def succeeded(ready: tuple[Tenant, Release]) -> Execution:
    owner, release = ready
    made = making.execution(owner, "done")
    [claim] = making.claimed(owner)
    record(release, making.outcome_of(claim, output_payloads=[json.dumps({"text": SECRET})]))
    return made


def question_of(ready: tuple[Tenant, Release]) -> Interaction:
    owner, release = ready
    made = making.execution(owner, "asks")
    [claim] = making.claimed(owner)
    record(release, making.suspension(claim, requests=[json.dumps({"text": SECRET})]))
    return made.await_units.get().interactions.get()


def test_the_message_and_the_traceback_of_an_error_are_payloads_and_its_code_is_not(
    ready: tuple[Tenant, Release],
) -> None:
    made = failed(ready)
    reads, sees = Caller(ready[0], Scope.READ), Caller(ready[0], Scope.READ, Scope.PAYLOADS)
    path = f"executions/{made.pk}"
    assert sees.get(path)["error"] == {"code": "NO_FUNDS", "message": SECRET, "traceback": SECRET}
    assert reads.get(path)["error"] == {"code": "NO_FUNDS", "message": None, "traceback": None}
    assert sees.get("executions")["items"][0]["error"] == {"code": "NO_FUNDS", "message": SECRET}
    assert reads.get("executions")["items"][0]["error"] == {"code": "NO_FUNDS", "message": None}
    assert sees.get(f"{path}/events")["items"][-1]["data"]["errorMessage"] == SECRET
    hidden = reads.get(f"{path}/events")["items"][-1]["data"]
    assert hidden["errorCode"] == "NO_FUNDS"
    assert hidden.keys().isdisjoint({"errorMessage", "traceback"})


def test_dead_letters_show_messages_only_to_readers(ready: tuple[Tenant, Release]) -> None:
    failed(ready)
    for scopes, shown in (((Scope.READ,), None), ((Scope.READ, Scope.PAYLOADS), SECRET)):
        [letter] = Caller(ready[0], *scopes).get("dead-letters")["items"]
        assert (letter["errorCode"], letter["errorMessage"]) == ("NO_FUNDS", shown)


def test_the_result_needs_the_scope(ready: tuple[Tenant, Release]) -> None:
    path = f"executions/{succeeded(ready).pk}/result"
    refused = Caller(ready[0], *(set(Scope) - {Scope.PAYLOADS})).get(path, 403)
    assert (refused["code"], SECRET in json.dumps(refused)) == ("SCOPE_MISSING", False)
    assert Caller(ready[0], Scope.PAYLOADS).get(path)["result"] == {"text": SECRET}


def test_a_repeated_submission_shows_the_message_only_to_readers(ready: tuple[Tenant, Release]) -> None:
    failed(ready)
    body = {"pipelineId": making.PIPELINE, "input": {"text": SECRET}, "idempotencyKey": "failed"}
    for scopes, shown in (((Scope.SUBMIT,), None), ((Scope.SUBMIT, Scope.PAYLOADS), SECRET)):
        caller = Caller(ready[0], *scopes)
        for _ in range(2):  # the second request has a cached token
            assert caller.post("executions", body)["error"] == {"code": "NO_FUNDS", "message": shown}
        [item] = caller.post("executions:batch", {"items": [body]})["items"]
        assert item["execution"]["error"] == {"code": "NO_FUNDS", "message": shown}


@cases(
    ("scopes", "visible"),
    [
        ((Scope.READ,), False),
        ((Scope.READ, Scope.PAYLOADS), True),
        ((Scope.READ, Scope.ANSWER), True),
        (tuple(set(Scope) - {Scope.PAYLOADS, Scope.ANSWER}), False),
    ],
)
def test_questions_and_answers_are_shown_to_readers_and_to_those_who_answer(
    scopes: tuple[Scope, ...], visible: bool, ready: tuple[Tenant, Release]
) -> None:
    question = question_of(ready)
    interactions.complete(ready[0], interaction_id=question.pk, response={"text": SECRET}, actor="user:eva")
    caller = Caller(ready[0], *scopes)
    for shown in (caller.get(f"interactions/{question.pk}"), *caller.get("interactions")["items"]):
        assert (shown["request"], shown["response"]) == (({"text": SECRET},) * 2 if visible else (None, None))
        assert shown["actor"] == "user:eva"


def test_a_question_can_be_answered_without_the_scope(ready: tuple[Tenant, Release]) -> None:
    question = question_of(ready)
    answer = {"interactionId": str(question.pk), "response": {"n": 1}}
    assert Caller(ready[0], Scope.ANSWER).post("interactions/complete", answer)["status"] == "COMPLETED"


def test_the_expected_result_of_a_smoke_test_is_a_payload(ready: tuple[Tenant, Release]) -> None:
    owner, release = ready
    smoke_tests.start(
        release, input={"n": 1}, idempotency_key="smoke", expected_result={"text": SECRET}, actor="user:ann"
    )
    path = f"pipelines/{making.PIPELINE}/releases/1.0/smoke"
    for scopes, shown in (((Scope.READ,), None), ((Scope.READ, Scope.PAYLOADS), {"text": SECRET})):
        [test] = Caller(owner, *scopes).get(path)["items"]
        assert (test["expectsResult"], test["expectedResult"]) == (True, shown)
