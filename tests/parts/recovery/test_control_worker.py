"""The control worker is killed or asked to end while it records an outcome."""

import time
from signal import SIGTERM

from tests.building import eventually
from tests.parts.recovery.cluster import LEASE_SECONDS
from tests.parts.recovery.scenario import Scenario

ONCE = ["SUBMITTED", "CLAIMED", "SUCCEEDED"]


def test_an_unacknowledged_outcome_is_redelivered_and_recorded(scenario: Scenario) -> None:
    """The UPDATE for the outcome waits for a row that the test has locked, and is rolled back with its connection.
    With the clock stopped no lease is taken over, so that only the message itself can end the execution.

    Control workers redeliver the messages of dead processes one at a time, under a lock in the broker. Here the test
    takes the lock and never releases it, like a process that died while it held the lock.
    """
    scenario.stop_the_clock()
    execution_id = scenario.submit("x")
    scenario.wait_for_run("x")
    with scenario.locked_row(execution_id):
        scenario.open_gate("x")
        scenario.wait_for_record()
        scenario.cluster.kill("control-1")
    assert (scenario.history(execution_id).kinds, scenario.outcomes) == (["SUBMITTED", "CLAIMED"], 0)
    scenario.lock_redelivery()

    scenario.cluster.start("control-1")
    assert scenario.ended(execution_id).kinds == ONCE
    assert scenario.runs("x") == 1


def test_a_control_worker_that_shuts_down_records_its_current_outcome(scenario: Scenario) -> None:
    """It gets SIGTERM while the UPDATE waits for the row, and ends after the UPDATE and the acknowledgement."""
    scenario.stop_the_clock()
    execution_id = scenario.submit("x")
    scenario.wait_for_run("x")
    control = scenario.cluster.process("control-1")
    with scenario.locked_row(execution_id):
        scenario.open_gate("x")
        scenario.wait_for_record()
        control.send(SIGTERM)
        eventually(lambda: "Warm shutdown" in control.log_tail(400), what="the start of the shutdown")
    assert (control.wait(30), scenario.unacknowledged) == (0, 0)
    scenario.cluster.kill("control-1")
    assert scenario.ended(execution_id).kinds == ONCE
    assert scenario.runs("x") == 1


def test_an_outcome_that_could_not_be_recorded_is_recorded_when_the_database_returns(scenario: Scenario) -> None:
    """PostgreSQL is killed during the step, and stays down until a control worker has received the outcome.
    With the clock stopped no lease is taken over, so that only that message can end the execution.
    """
    scenario.stop_the_clock()
    execution_id = scenario.submit("x")
    scenario.wait_for_run("x")
    scenario.cluster.postgres.kill()
    scenario.open_gate("x")
    scenario.wait_for_run("x", "ended")
    control = scenario.cluster.process("control-1")
    eventually(lambda: "executions.record" in control.log_tail(400), what="the attempt to record")
    scenario.cluster.postgres.start()

    assert scenario.ended(execution_id).kinds == ONCE
    assert scenario.runs("x") == 1


def test_outcomes_that_no_control_worker_reads_cost_no_lease_and_are_recorded_later(scenario: Scenario) -> None:
    """Heartbeats are read, and outcomes are not: the only control worker does not serve their queue."""
    scenario.cluster.add_control_worker("others", "control", "heartbeats", "webhooks", "rest", "artifacts")
    eventually(lambda: scenario.cluster.is_ready("others"), what="the other control worker")
    scenario.cluster.kill("control-1")
    for key in ("x", "y"):
        scenario.open_gate(key)
    first = scenario.submit("x")
    scenario.wait_for_run("x", "ended")
    time.sleep(2.5 * LEASE_SECONDS)
    second = scenario.submit("y")
    time.sleep(1)
    assert [scenario.history(each).kinds for each in (first, second)] == [["SUBMITTED", "CLAIMED"], ["SUBMITTED"]]

    scenario.cluster.start("control-1")
    assert [scenario.ended(each).kinds for each in (first, second)] == [ONCE, ONCE]
    assert [scenario.runs(key) for key in ("x", "y")] == [1, 1]
    scenario.cluster.remove("others")
