"""An execution is explained in words: which code ran each step, what it waited for, and what happens next."""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db.models import F

from executions.awaits import reassignment
from executions.explanation.explanation import Explanation, explain
from executions.holds.holds import pause
from executions.lifecycle import interventions, starts
from executions.models import Execution, Interaction, Worker
from executions.state_machine.moves import Claim
from executions.submission.requests import Start
from releases import policy
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import answer, interaction_of, itemized, suspended
from tests.executions.awaits.test_recipients import person
from tests.executions.limited import limited, submitted
from tests.executions.moments import now
from tests.raw_sql import unguarded
from wire.messages.celery_messages import Failure

STEPS = ("Read lines", "Approve", "Bill")
DUE = "Read lines (step 1) is due and waits for a free worker of release 1.0."
STAYS = f"The execution never moves to another release. Start a worker for 1.0: pipelines worker {making.PIPELINE}@1.0"
RESTART = STAYS.replace("Start a worker", "Restart the worker, or start another one")
TRACEBACK = 'Traceback (most recent call last):\n  File "shop/orders.py", line 9, in bill\nValueError: no amount'


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    return making.ready(steps=making.steps(*STEPS))


def explained(execution: Execution, *, payloads: bool = True) -> Explanation:
    return explain(Execution.objects.get(pk=execution.pk), payloads=payloads)


def without_times(text: str) -> str:
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME", text)
    return re.sub(r"\b\d+(\.\d+)? m?s\b", "SPAN", text)


def texts(explanation: Explanation) -> list[str]:
    return [without_times(event.text) for event in explanation.history]


def said(sentences: Any) -> str:
    return without_times(" ".join(map(str, sentences)))


def due(owner: Tenant) -> Claim:
    Execution.objects.filter(status="WAIT_RETRY").update(next_due_at=making.LONG_AGO)
    [claim] = making.claimed(owner)
    return claim


def reported(claim: Claim, *steps: int, failed: int | None = None) -> dict[str, Any]:
    now = int(Execution.objects.get(pk=claim.execution_id).created_at.timestamp() * 1000) + 1
    members: dict[str, Any] = {"steps": [(index, now, now) for index in steps]}
    if failed is not None:
        text = f'step "{STEPS[failed]}": no amount'
        failure = Failure(failure_class="ValueError", message=text, retryable=True, step_index=failed)
        members |= {"result": "FAILED", "failure": failure.model_copy(update={"traceback": TRACEBACK})}
    return members


def test_a_history_with_a_retry_and_an_answer_names_code_workers_and_steps(owner: Tenant, release: Release) -> None:
    digest = release.artifacts.get().digest
    execution = making.execution(owner)
    code: dict[str, Any] = {"artifact_digest": digest, "environment": "sha256:e", "code": "artifact"}
    code["durable_pipelines"] = "0.2.0"
    first = due(owner)
    making.record(making.outcome_of(first, **reported(first, 0, failed=0)), worker_id="w1", **code)
    second = due(owner)
    waiting = making.suspension(second, step_index=1, assignee="max", group="clerks")
    making.record(waiting.model_copy(update=reported(second, 0)), worker_id="w2", **code)
    waits = explained(execution)
    [question] = Interaction.objects.filter(execution=execution)
    assert said(waits.now) == (
        f"Approve (step 2) waits for the answer of max or the group clerks to question {question.pk} until TIME."
    )
    answer(question, person=person(owner, "eva", "clerks"))
    third = due(owner)
    making.record(making.outcome_of(third, **reported(third, 2)), worker_id="w2", **code)
    explanation = explained(execution)
    assert texts(explanation) == [
        "token:test submitted it",
        "Read lines failed after SPAN on worker w1, in attempt 1: ValueError: no amount",
        "Read lines waited for a retry for SPAN",
        "Read lines ran for SPAN on worker w2, in attempt 2",
        "Approve waited for answers for SPAN. 1 of 1 answered by user:eva",
        "Bill ran for SPAN on worker w2, in attempt 2",
    ]
    assert explanation.code == [
        f"Ran Read lines, Bill with the code of artifact {digest}, which the release pins, in environment sha256:e, "
        "with durable-pipelines 0.2.0, on worker w1, w2."
    ]
    [failed] = [event for event in explanation.history if event.error_code]
    assert (failed.traceback, failed.artifact_digest) == (TRACEBACK.splitlines(), digest)
    assert str(failed.step) == "Read lines (step 1)"
    assert (said(explanation.now), said(explanation.following)) == ("Succeeded SPAN after it was submitted.", "")
    assert "no amount" not in repr(explained(execution, payloads=False).history)


def fail(owner: Tenant, _: Execution, retries: int = 0) -> None:
    claim = due(owner)
    policy.change(Pipeline.objects.get(tenant=owner), {"retryLimit": retries}, actor="user:admin")
    making.record(making.outcome_of(claim, **reported(claim, 0, 1, 2, failed=2)))


@cases(
    ("change", "now", "following"),
    (
        lambda owner, execution: pause(execution, actor="user:eva", reason="stocktaking"),
        "Read lines (step 1) is due. It starts when nothing pauses it.",
        "The execution is paused by user:eva since TIME: stocktaking",
    ),
    (
        lambda owner, execution: making.claimed(owner),
        "Claimed and sent to the workers of release 1.0. No worker has reported it yet.",
        "If the worker is lost, another one takes over after the lease has ended.",
    ),
    (
        lambda owner, _: Worker.objects.filter(tenant=owner).update(abandoned=F("capacity")),
        DUE,
        "No worker may run release 1.0: all threads of the worker still run what was cancelled, taken over or "
        f"timed out. {RESTART}",
    ),
    (
        lambda owner, _: making.silence(*Worker.objects.filter(tenant=owner)),
        DUE,
        f"No worker may run release 1.0: the worker sends no heartbeats. {STAYS}",
    ),
    (partial(fail, retries=3), "Attempt 1 failed at Bill (step 3) with ValueError. The next is due TIME.", ""),
    (
        fail,
        "Failed at Bill (step 3), SPAN after it was submitted: no retries left.",
        "A re-drive runs it again. It starts at the first step: Read lines (step 1). The steps before "
        "Bill (step 3), which failed, run again too, because there is no checkpoint of them.",
    ),
    (
        lambda owner, _: making.record(making.failure(due(owner), retryable=False)),
        "Failed at Read lines (step 1), SPAN after it was submitted: not retryable.",
        "A re-drive that allows FAILED executions runs it again. It starts at the first step: Read lines (step 1).",
    ),
    (
        lambda owner, execution: interventions.cancel(owner, execution.pk, actor="user:eva", reason="a mistake"),
        "Cancelled SPAN after it was submitted.",
        "",
    ),
)
def test_what_it_does_now_and_what_is_next(
    owner: Tenant, release: Release, change: Callable[[Tenant, Execution], Any], now: str, following: str
) -> None:
    execution = making.execution(owner)
    change(owner, execution)
    explanation = explained(execution)
    assert (said(explanation.now), said(explanation.following)) == (now, following)


@cases(("declared", "whose"), [({}, "of the pipeline"), ({"key": "customer"}, "with the concurrency key customer=c-1")])
def test_what_waits_for_a_place_names_who_has_it(owner: Tenant, declared: dict[str, str], whose: str) -> None:
    limited(owner, "2.0", limit=1, **declared)
    expires_at = now() + timedelta(hours=1)
    [first], [waiting] = submitted(owner, "first"), submitted(owner, "second", start=Start(expires_at=expires_at))
    explanation = explained(waiting)
    assert said(explanation.now) == (
        f"Validate (step 1) waits for a place: as many executions {whose} are in progress as the release allows."
    )
    assert said(explanation.following) == (
        f"It gets a place when one of these has ended: {first.pk}. It is cancelled if no worker has started it by TIME."
    )
    with unguarded(Execution):
        Execution.objects.filter(pk=waiting.pk).update(expires_at=making.LONG_AGO)
    assert starts.expire() == 1
    ended = explained(waiting)
    assert said(ended.following) == "Submit it again with a later time, or resubmit it: a resubmission does not expire."
    assert said(ended.now) == "Cancelled SPAN after it was submitted. No worker had started it by TIME. It never ran."
    assert "The coordinator cancelled it, because no worker had got it in time" in texts(ended)


def test_a_history_names_the_new_recipients_of_a_question(owner: Tenant, release: Release) -> None:
    question = interaction_of(suspended((owner, release), group="clerks"))
    person(owner, "eva", "legal")
    by: dict[str, Any] = {"actor": "user:adm", "reason": "on holiday", "assignee": "eva", "group": "legal"}
    reassignment.reassign(owner, question.pk, **by)
    [entry] = [line for line in texts(explained(question.execution)) if "recipients" in line]
    assert entry == f"user:adm named other recipients of question {question.pk}, eva or the group legal: on holiday"


@cases(("count", "more"), [(3, ""), (5, "2 more questions are open."), (30, "At least 18 more questions are open.")])
def test_few_of_many_questions_are_named(owner: Tenant, release: Release, count: int, more: str) -> None:
    made, items = itemized((owner, release), count)
    sentences = list(map(str, explained(made).now))
    assert [str(item.pk) in sentence for item, sentence in zip(items[:3], sentences, strict=False)] == [True] * 3
    assert sentences[3:] == ([more] if more else [])


def test_what_a_newer_submission_replaced_names_it(owner: Tenant) -> None:
    limited(owner, "2.0", debounceSeconds=60, key="customer")
    first, newer = submitted(owner, "first", "newer")
    waits = said(explained(newer).now)
    assert waits.endswith("waits for a newer submission with its concurrency key, which would replace it, until TIME.")
    explanation = explained(first)
    assert said(explanation.now).endswith(f"A newer submission with its concurrency key replaced it: {newer.pk}.")
    assert f"The coordinator cancelled it, because the newer submission {newer.pk} replaced it" in texts(explanation)
