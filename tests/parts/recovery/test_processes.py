"""The web process, control workers and workers are killed, frozen or asked to end.

`tests/e2e/test_product.py` kills a worker during a step. `tests/executions/schedules/test_firing.py` and
`tests/concurrency/test_place_races.py` prove that nothing fires or starts too often.
"""

from signal import SIGTERM

import pytest

from tests.building import eventually
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


def test_a_claimed_execution_is_sent_before_the_process_ends(scenario: Scenario) -> None:
    """SIGTERM arrives while the broker is frozen. The claim is committed, and no other process would send it."""
    scenario.stop_the_clock()
    scenario.open_gate("x")
    broker, web = scenario.cluster.valkey.child, scenario.cluster.process("web")
    assert broker is not None
    with scenario.cluster.stopped(broker):
        execution_id = scenario.submit("x")
        scenario.wait_for_event(execution_id, "CLAIMED")
        web.send(SIGTERM)
        with pytest.raises(TimeoutError):
            web.wait(1)
    web.wait(10)
    assert scenario.ended(execution_id).kinds == ["SUBMITTED", "CLAIMED", "SUCCEEDED"]
    scenario.cluster.kill("web")
