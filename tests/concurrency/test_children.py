"""Executions that call other pipelines: whatever runs at the same time or dies, each place has one child (ADR 129)."""

from functools import partial
from typing import Any

import pytest
from django.db import connection

from executions.awaits import awaits, interactions
from executions.awaits.statements import RESPONSES
from executions.children import asking, ends
from executions.children.calls import children
from executions.errors import InteractionClosed
from executions.explanation.explanation import explain
from executions.lifecycle import retention
from executions.lifecycle.interventions import cancel, redrive
from executions.models import Execution, Interaction
from executions.submission import places
from governance.activation.activation import activate
from governance.reports.preflight import preflight
from tenancy.models import Tenant
from tests import making
from tests.concurrency.racing import race, results_of
from tests.deaths import each_death
from tests.executions.awaits.parking import make_late, suspended
from tests.executions.submission.continuing import order
from tests.raw_sql import run

REFUNDS = "org.example.refunds"
TRACE = f"00-{1:032x}-{2:016x}-01"
CALL = {**making.STEP, "kind": "await", "awaitTransport": "pipeline", "callsPipeline": REFUNDS}


@pytest.fixture
def owner(committed: None) -> Tenant:
    return making.ready(steps=[CALL], schemaVersion=2, canonicalTypes=order("n"))[0]


def calling(owner: Tenant, key: str = "key", items: int = 0) -> Execution:
    many = {"requests": ['{"n": 1}'] * items, "itemized": True, "gives_many": True} if items else {}
    return suspended((owner, making.release_of(owner, "1.0")), key, transport="pipeline", **many)


def ask_again(owner: Tenant, parent: Execution) -> None:
    redrive(owner, parent.pk, actor="user:eva", reason="again", allow_failed=True)
    making.record(*(making.suspension(each, transport="pipeline") for each in making.claimed(owner)))
    settle()


def settle(*, due: bool = False) -> None:
    """Carry out all calls and ends that are due. With `due`, also those that wait for another attempt."""
    if due:
        run("UPDATE executions_interaction SET next_dispatch_at = now() WHERE next_dispatch_at IS NOT NULL")
        run("UPDATE executions_execution SET family_due_at = now() WHERE family_due_at IS NOT NULL")
    while asking.call_next() or ends.hand_over():
        pass


def end(owner: Tenant, *outputs: str, failed: bool = False) -> None:
    claims = making.claimed(owner)
    made = [making.outcome_of(each, output_payloads=list(outputs or ['{"n": 7}'])) for each in claims]
    broken = [making.failure(each, "Broke", retryable=False, message="no funds") for each in claims]
    assert making.record(*(broken if failed else made)) == len(claims) > 0
    settle()


def state(of: Execution) -> tuple[str, str | None]:
    of.refresh_from_db()
    return of.status, of.error_code


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
    with pytest.raises(InteractionClosed):
        interactions.complete(owner, interaction_id=asked.pk, response={"n": 3}, actor="user:eva")
    end(owner)
    asked.refresh_from_db()
    assert (asked.status, asked.actor, state(parent)) == ("COMPLETED", f"execution:{child.pk}", ("QUEUED", None))
    assert (parent.progress, parent.current_step_index) == ({"n": 7}, 1)


@pytest.mark.parametrize("why", ["PIPELINE_UNKNOWN", "INPUT_INVALID", "must be an array", "which is no child"])
def test_what_can_never_succeed_fails_the_parent(owner: Tenant, why: str) -> None:
    if why != "PIPELINE_UNKNOWN":
        field = "other" if why == "INPUT_INVALID" else "n"
        steps = [{**making.STEP, "cardinality": "MANY_TO_MANY"}] if why == "must be an array" else [making.STEP]
        members = {"steps": steps, "schemaVersion": 2, "canonicalTypes": order(field)}
        making.ready(owner, version="7.0", pipeline_id=REFUNDS, **members)
        warnings = str(preflight(making.release_of(owner, "1.0")).warnings)
        assert ("accepts not" in warnings) is (field == "other")
        numbers = ("takes a list, but gets one value" in warnings, "gives a list, but must give one" in warnings)
        assert numbers == (why == "must be an array",) * 2
    parent = calling(owner)
    if why == "which is no child":
        making.execution(owner, f"child:{parent.pk}:0", pipeline_id=REFUNDS)
    settle()
    assert (state(parent), why in str(parent.error_message)) == (("FAILED", "CHILD_REFUSED"), True)


def test_the_preflight_warns_of_a_named_release_that_is_no_longer_open(owner: Tenant) -> None:
    for version in ("7.0", "8.0"):
        making.active(owner, version=version, pipeline_id=REFUNDS)
    steps = [{**CALL, "callsRelease": "7.0"}]
    release = making.active(owner, version="2.0", steps=steps, schemaVersion=2, canonicalTypes=order("n"))
    making.worker(release, "worker-2")
    parent = suspended((owner, release), transport="pipeline")
    settle()
    assert state(parent) == ("FAILED", "CHILD_REFUSED")
    assert "Release '7.0' was replaced" in str(preflight(release).warnings)


def test_a_child_without_a_result_fails_the_parent_and_counts_again_after_a_redrive(owner: Tenant) -> None:
    making.ready(owner, version="7.0", pipeline_id=REFUNDS)
    parent, late, wrong = (calling(owner, key) for key in ("failed", "late", "wrong"))
    settle()
    make_late(*Interaction.objects.filter(execution=late))
    awaits.expire()
    cancel(owner, wrong.pk, actor="user:eva", reason="stop")
    settle()
    end(owner, failed=True)
    [child] = children(parent)
    assert (state(parent), state(late)) == (("FAILED", "CHILD_FAILED"), ("FAILED", "AWAIT_TIMEOUT"))
    assert f"{child.pk} of pipeline {REFUNDS} is FAILED: Broke: no funds" in str(parent.error_message)
    ask_again(owner, parent)
    end(owner, '{"n": "seven"}')
    assert (state(parent), children(parent)) == (("FAILED", "CHILD_FAILED"), [child])
    redrive(owner, children(late)[0].pk, actor="user:eva", reason="mended", allow_failed=True)
    end(owner)
    ask_again(owner, late)
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


def test_an_attempt_that_is_repeated_after_the_end_of_its_child_does_not_run_it_again(owner: Tenant) -> None:
    making.ready(owner, version="7.0", pipeline_id=REFUNDS)
    parent = calling(owner)
    settle()
    run("UPDATE executions_interaction SET status = 'DISPATCHING', next_dispatch_at = now()")  # its process has died
    making.record(making.failure(making.claimed(owner)[0], "Broke", retryable=False))
    settle(due=True)
    assert (state(parent), state(children(parent)[0])) == (("FAILED", "CHILD_FAILED"), ("FAILED", "Broke"))
    assert str(explain(parent, payloads=False).now[0]).endswith("question not delivered or child failed.")


def test_recursion_ends_at_depth_16_and_a_cancellation_reaches_all(owner: Tenant) -> None:
    making.ready(owner, version="7.0", pipeline_id=REFUNDS, steps=[CALL])
    top = calling(owner, "top", items=2)
    for _ in range(3):
        settle()
        making.record(*(making.suspension(each, transport="pipeline") for each in making.claimed(owner)))
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


def test_a_process_that_dies_at_any_write_leaves_one_child_and_one_resume(owner: Tenant) -> None:
    making.ready(owner, version="7.0", pipeline_id=REFUNDS)
    parent = calling(owner, items=2)
    for _ in each_death(settle):
        run("UPDATE executions_interaction SET next_dispatch_at = now() WHERE next_dispatch_at IS NOT NULL")
    making.record(*map(making.outcome_of, making.claimed(owner)))
    for _ in each_death(lambda: settle(due=True)):
        pass
    assert (state(parent)[0], making.kinds(parent).count("AWAIT_COMPLETED")) == ("QUEUED", 1)
    assert (len(children(parent)), parent.progress) == (2, [{"n": 1}] * 2)
    assert not Execution.objects.filter(family_due_at__isnull=False)


def asked_again(owner: Tenant, *, handed_over: bool = True) -> Execution:
    """Return a re-driven parent that has just asked again. Of its three children, only the last one succeeded."""
    making.ready(owner, version="7.0", pipeline_id=REFUNDS)
    parent = calling(owner, items=3)
    settle()
    first, second, last = making.claimed(owner)
    making.record(making.failure(first, "Broke", retryable=False))
    settle()
    making.record(making.failure(second, "Broke", retryable=False), making.outcome_of(last))
    settle() if handed_over else None
    redrive(owner, parent.pk, actor="user:eva", reason="again", allow_failed=True)
    many: dict[str, Any] = {"requests": ['{"n": 1}'] * 3, "itemized": True, "gives_many": True}
    making.record(*(making.suspension(each, transport="pipeline", **many) for each in making.claimed(owner)))
    return parent


def test_a_parent_that_asks_again_gets_an_answer_from_each_child_whatever_dies(owner: Tenant) -> None:
    parent = asked_again(owner)
    for _ in each_death(lambda: settle(due=True)):
        pass
    assert making.record(*map(making.outcome_of, making.claimed(owner))) == 2
    settle()
    assert (state(parent), len(children(parent))) == (("QUEUED", None), 3)


def test_an_end_from_before_the_question_does_not_fail_it(owner: Tenant) -> None:
    parent = asked_again(owner, handed_over=False)
    assert ends.hand_over() == 2
    settle()
    assert state(parent)[0] == "WAITING_EXTERNAL"
    assert [state(each)[0] for each in children(parent)] == ["SUCCEEDED", "QUEUED", "QUEUED"]


def test_no_child_is_redriven_for_a_parent_that_was_cancelled_meanwhile(owner: Tenant) -> None:
    parent, cancelled = asked_again(owner), list[Execution]()

    def stop(execute: Any, sql: Any, *rest: Any) -> Any:
        if "ancestors(" in sql and not cancelled:
            cancelled.append(cancel(owner, parent.pk, actor="user:eva", reason="stop"))
        return execute(sql, *rest)

    with connection.execute_wrapper(stop):
        settle()
    assert [state(each)[0] for each in (parent, *children(parent))] == ["CANCELLED", "SUCCEEDED", "FAILED", "FAILED"]


def test_results_that_are_too_large_together_fail_the_parent(owner: Tenant) -> None:
    making.ready(owner, version="7.0", pipeline_id=REFUNDS)
    parent = calling(owner, items=2)
    settle()

    def limited(execute: Any, sql: Any, *rest: Any) -> Any:
        """Raise the error of a value of more than 256 MB."""
        return execute("DO $$ BEGIN RAISE program_limit_exceeded; END $$" if sql == RESPONSES else sql, *rest)

    with connection.execute_wrapper(limited):
        end(owner)
    assert (state(parent), "all results of the step together" in str(parent.error_message)) == (
        ("FAILED", "CHILD_FAILED"),
        True,
    )


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
    assert (state(parent)[0], [state(each)[1] for each in burst]) == ("QUEUED", ["REPLACED", None])
