"""Executions that call other pipelines: whatever runs at the same time or dies, each place has one child (ADR 129)."""

from functools import partial
from typing import Any

import pytest
from django.db import connection

from executions.awaits import awaits, questions
from executions.awaits.statements import RESPONSES
from executions.children import asking, ends
from executions.children.calls import children
from executions.errors import QuestionClosed
from executions.explanation.explanation import explain
from executions.lifecycle import retention
from executions.lifecycle.interventions import cancel, redrive
from executions.models import Execution, Interaction
from executions.submission import places
from governance.activation.activation import activate
from governance.reports.preflight import preflight
from governance.resubmission.resubmission import resubmit
from tenancy.models import Tenant
from tests import making
from tests.concurrency.sessions import race, results_of
from tests.deaths import each_death
from tests.executions.awaits.parking import make_late, suspended
from tests.executions.submission.continuing import order
from tests.raw_sql import raised, run

REFUNDS = "org.example.refunds"
TRACE = f"00-{1:032x}-{2:016x}-01"
CALL = {**making.STEP, "kind": "await", "awaitTransport": "pipeline", "callsPipeline": REFUNDS}


@pytest.fixture
def owner(committed: None) -> Tenant:
    return making.ready(steps=[CALL], schemaVersion=2, canonicalTypes=order("n"))[0]


def call(items: int = 0) -> dict[str, Any]:
    many = {"requests": ['{"n": 1}'] * items, "itemized": True, "gives_many": True} if items else {}
    return {"transport": "pipeline", **many}


def calling(owner: Tenant, key: str = "key", items: int = 0) -> Execution:
    return suspended((owner, making.release_of(owner, "1.0")), key, **call(items))


def ask_again(owner: Tenant, parent: Execution, items: int = 0) -> None:
    redrive(owner, parent.pk, actor="user:eva", reason="again", allow_failed=True)
    making.record(*(making.suspension(claim, **call(items)) for claim in making.claimed(owner)))


def settle(*, due: bool = False) -> None:
    """Carry out all calls and ends that are due. With `due`, also those that wait for another attempt."""
    if due:
        run("UPDATE executions_interaction SET next_dispatch_at = now() WHERE next_dispatch_at IS NOT NULL")
        run("UPDATE executions_execution SET family_due_at = now() WHERE family_due_at IS NOT NULL")
    while asking.call_next() or ends.hand_over():
        pass


def end(owner: Tenant, *outputs: str, failed: bool = False) -> None:
    claims = making.claimed(owner)
    made = [making.outcome_of(claim, output_payloads=list(outputs or ['{"n": 7}'])) for claim in claims]
    broken = [making.failure(claim, "Broke", retryable=False, message="no funds") for claim in claims]
    assert making.record(*(broken if failed else made)) == len(claims) > 0
    settle()


def state(execution: Execution) -> tuple[str, str | None]:
    return making.reread(execution).status, execution.error_code


def test_only_the_result_of_the_child_answers_and_what_may_pass_is_tried_again(owner: Tenant) -> None:
    release, parent = making.registered(owner, "7.0", pipeline_id=REFUNDS), calling(owner)
    settle()
    [asked] = Interaction.objects.filter(execution=parent)
    assert (asked.status, asked.last_dispatch_error[:19]) == ("WAITING", "NO_ACTIVE_RELEASE: ")
    assert "No release" in str(preflight(making.release_of(owner, "1.0")).warnings)
    activate(release, actor="user:test")
    making.worker(release)
    settle(due=True)
    [child] = children(parent)
    assert (child.parent_id, child.execution_key, child.release_version) == (parent.pk, f"child:{parent.pk}:0", "7.0")
    raised(QuestionClosed, questions.answer, owner, question_id=asked.pk, response={"n": 3}, actor="user:eva")
    end(owner)
    asked.refresh_from_db()
    assert (asked.status, asked.actor, state(parent)) == ("COMPLETED", f"execution:{child.pk}", ("QUEUED", None))
    assert (parent.progress, parent.current_step_index) == ({"n": 7}, 1)


@pytest.mark.parametrize("why", ["PIPELINE_UNKNOWN", "INPUT_INVALID", "must be an array", "which is no child"])
def test_what_can_never_succeed_fails_the_parent(owner: Tenant, why: str) -> None:
    if why != "PIPELINE_UNKNOWN":
        field = "other" if why == "INPUT_INVALID" else "n"
        steps = [{**making.STEP, "cardinality": "MANY_TO_MANY" if why == "must be an array" else "ONE_TO_ONE"}]
        types = {"schemaVersion": 2, "canonicalTypes": order(field)}
        making.ready(owner, version="7.0", pipeline_id=REFUNDS, steps=steps, **types)
        warnings = str(preflight(making.release_of(owner, "1.0")).warnings)
        assert ("accepts not" in warnings) is (field == "other")
        is_many = "takes a list, but gets one value" in warnings and "gives a list, but must give one" in warnings
        assert is_many is (why == "must be an array")
    parent = calling(owner)
    if why == "which is no child":
        making.execution(owner, f"child:{parent.pk}:0", pipeline_id=REFUNDS)
    settle()
    assert (state(parent), why in str(parent.error_message)) == (("FAILED", "CHILD_REFUSED"), True)


def test_the_preflight_warns_of_a_named_release_that_is_no_longer_open(owner: Tenant) -> None:
    making.active(owner, version="7.0", pipeline_id=REFUNDS)
    steps = [{**CALL, "callsRelease": "7.0"}]
    release = making.registered(owner, "2.0", steps=steps, schemaVersion=2, canonicalTypes=order("n"))
    assert "Release '7.0' was replaced" not in str(preflight(release).warnings)
    making.active(owner, version="8.0", pipeline_id=REFUNDS)
    assert "Release '7.0' was replaced" in str(preflight(release).warnings)


def test_a_child_without_a_result_fails_the_parent_and_counts_again_after_a_redrive(owner: Tenant) -> None:
    making.ready(owner, version="7.0", pipeline_id=REFUNDS)
    parent, late, wrong = (calling(owner, key) for key in ("failed", "late", "wrong"))
    settle()
    make_late(*Interaction.objects.filter(execution=late))
    awaits.expire()
    cancel(owner, wrong.pk, actor="user:eva", reason="stop")
    settle()
    # The process of the attempt has died, so the call is repeated after the end of the child.
    run(
        "UPDATE executions_interaction SET status = 'DISPATCHING', next_dispatch_at = now() WHERE status = 'DISPATCHED'"
    )
    end(owner, failed=True)
    [child] = children(parent)
    assert (state(parent), state(late)) == (("FAILED", "CHILD_FAILED"), ("FAILED", "AWAIT_TIMEOUT"))
    assert str(explain(parent, payloads=False).now[0]).endswith("question not delivered or child failed.")
    assert f"{child.pk} of pipeline {REFUNDS} is FAILED: Broke: no funds" in str(parent.error_message)
    ask_again(owner, parent)
    settle()
    end(owner, '{"n": "seven"}')
    assert (state(parent), children(parent)) == (("FAILED", "CHILD_FAILED"), [child])
    [lost] = children(late)
    by_hand: dict[str, Any] = {"actor": "user:eva", "reason": "mended"}
    resubmit(owner, lost.pk, **by_hand)
    end(owner)
    ask_again(owner, late)
    settle()
    assert (state(late), lost.status) == (("FAILED", "CHILD_REFUSED"), "FAILED"), "its work moved"
    redrive(owner, lost.pk, allow_failed=True, allow_replaced=True, **by_hand)
    end(owner)
    ask_again(owner, late)
    settle()
    assert (state(late), state(children(wrong)[0])) == (("QUEUED", None), ("CANCELLED", None))


def test_a_child_is_kept_as_long_as_its_parent_may_ask_for_it_again(owner: Tenant) -> None:
    making.ready(owner, version="7.0", pipeline_id=REFUNDS)
    parent = calling(owner, items=2)
    settle()
    first, second = making.claimed(owner)
    making.record(making.outcome_of(first), making.failure(second, "Broke", retryable=False))
    settle()
    Tenant.objects.filter(pk=owner.pk).update(retention_days=1, failed_retention_days=30)
    making.aged(parent, *children(parent), days=2)
    assert retention.remove(seconds=60) == 0
    making.aged(parent, *children(parent), days=31)
    assert (retention.remove(seconds=60) + retention.remove(seconds=60), Execution.objects.count()) == (3, 0)


def test_recursion_ends_at_depth_16_and_a_cancellation_reaches_all(owner: Tenant) -> None:
    making.ready(owner, version="7.0", pipeline_id=REFUNDS, steps=[CALL])
    top = calling(owner, "top", items=2)
    for _ in range(3):
        settle()
        making.record(*(making.suspension(claim, **call()) for claim in making.claimed(owner)))
    cancel(owner, top.pk, actor="user:eva", reason="stop")
    settle()
    assert {*Execution.objects.values_list("status", flat=True)} == {"CANCELLED"}
    calling(owner)
    for _ in range(17):
        settle()
        if claims := making.claimed(owner):
            suspension = making.suspension(claims[0], transport="pipeline")
            making.record(suspension.model_copy(update={"traceparent": TRACE}))
    assert Execution.objects.filter(traceparent=TRACE, parent_id__isnull=False).count() == 15
    [deepest] = Execution.objects.filter(error_code="CHILD_TOO_DEEP")
    above = Execution.objects.filter(error_code="CHILD_FAILED")
    assert (deepest.status, above.values_list("error_message").distinct().count(), above.count()) == ("FAILED", 1, 16)
    assert f"Child {deepest.pk} of pipeline {REFUNDS} is FAILED: CHILD_TOO_DEEP" in str(above[0].error_message)


def work(owner: Tenant) -> None:
    claims = making.claimed(owner, limit=2)
    while claims or asking.call_next() or ends.hand_over():
        making.record(*map(making.outcome_of, claims)) if claims else None
        claims = making.claimed(owner, limit=2)


def test_racing_processes_make_one_child_for_each_item_and_leave_none_open(owner: Tenant) -> None:
    making.ready(owner, version="7.0", pipeline_id=REFUNDS)
    parents = [calling(owner, f"key-{number}", items=5) for number in range(3)]
    stopped = calling(owner, "stopped", items=5)
    stop = partial(cancel, owner, stopped.pk, actor="user:eva", reason="stop")
    results_of(race(*[partial(work, owner)] * 4, stop))
    work(owner)
    for parent in parents:
        assert (state(parent), making.kinds(parent).count("AWAIT_COMPLETED")) == (("SUCCEEDED", None), 1)
        assert len(children(parent)) == 5
    assert not Execution.objects.filter(finished_at=None)


def asked_again(owner: Tenant, *, handed_over: bool = True) -> Execution:
    """Return a re-driven parent that has just asked again. Of its three children, only the last one succeeded."""
    making.ready(owner, version="7.0", pipeline_id=REFUNDS)
    parent = calling(owner, items=3)
    for _ in each_death(settle):
        run("UPDATE executions_interaction SET next_dispatch_at = now() WHERE next_dispatch_at IS NOT NULL")
    first, second, last = making.claimed(owner)
    making.record(making.failure(first, "Broke", retryable=False))
    settle()
    making.record(making.failure(second, "Broke", retryable=False), making.outcome_of(last))
    settle() if handed_over else None
    ask_again(owner, parent, items=3)
    return parent


@pytest.mark.parametrize("handed_over", [True, False])
def test_a_parent_that_asks_again_gets_each_answer_whatever_dies_or_comes_late(
    owner: Tenant, handed_over: bool
) -> None:
    parent = asked_again(owner, handed_over=handed_over)
    ends.hand_over()
    for _ in each_death(lambda: settle(due=True)):
        pass
    assert making.record(*map(making.outcome_of, making.claimed(owner))) == 2
    for _ in each_death(lambda: settle(due=True)):
        pass
    assert (state(parent)[0], making.kinds(parent).count("AWAIT_COMPLETED")) == ("QUEUED", 1)
    assert (len(children(parent)), parent.progress) == (3, [{"n": 1}] * 3)
    assert not Execution.objects.filter(family_due_at__isnull=False)


def test_no_child_is_redriven_for_a_parent_that_was_cancelled_meanwhile(owner: Tenant) -> None:
    parent, steps = asked_again(owner), ["ancestors(", "ancestors(", 'SELECT "executions_execution"']

    def stop(execute: Any, sql: Any, *rest: Any) -> Any:
        """Cancel the parent when the child of its second question is read."""
        if steps and steps[0] in sql and not steps.pop(0).startswith("anc"):
            cancel(owner, parent.pk, actor="user:eva", reason="stop")
        return execute(sql, *rest)

    with connection.execute_wrapper(stop):
        settle()
    assert [state(row)[0] for row in (parent, *children(parent))] == ["CANCELLED", "SUCCEEDED", "FAILED", "FAILED"]


def test_results_that_are_too_large_together_fail_the_parent(owner: Tenant) -> None:
    making.ready(owner, version="7.0", pipeline_id=REFUNDS)
    parent = calling(owner, items=2)
    settle()

    def limited(execute: Any, sql: Any, *rest: Any) -> Any:
        return execute("DO $$ BEGIN RAISE program_limit_exceeded; END $$" if sql == RESPONSES else sql, *rest)

    with connection.execute_wrapper(limited):
        end(owner)
    assert (state(parent)[1], "all results of the step" in str(parent.error_message)) == ("CHILD_FAILED", True)


def test_a_child_waits_for_no_quiet_time_and_is_part_of_no_burst(owner: Tenant) -> None:
    rules = {"limit": 1, "debounceSeconds": 60}
    release = making.declaring(owner, "7.0", document=making.contract(REFUNDS), concurrency=rules)
    activate(release, actor="user:test")
    burst = [making.submitted(owner, "first", pipeline_id=REFUNDS).execution]
    parent = calling(owner, items=2)
    settle()
    places.sweep()
    burst.append(making.submitted(owner, "second", pipeline_id=REFUNDS).execution)
    for _ in range(2):
        places.sweep()
        end(owner)
    assert (state(parent)[0], [state(execution)[1] for execution in burst]) == ("QUEUED", ["REPLACED", None])
