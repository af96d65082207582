"""A transition worker is killed after it has sent an outcome, or is frozen and seems dead.

`tests/e2e/test_product.py` kills a worker during a step.
"""

import os
from signal import SIGCONT, SIGSTOP

from tests.building import eventually
from tests.parts.recovery.scenario import WORKER, Scenario

TAKEN_OVER = ["SUBMITTED", "CLAIMED", "LEASE_EXPIRED", "CLAIMED", "SUCCEEDED"]


def test_an_outcome_is_recorded_after_its_worker_was_killed(scenario: Scenario) -> None:
    """The sender of the command and its worker are both dead when the outcome is recorded. The control worker is
    killed during the step, and the transition worker once the queue holds its outcome. With the clock stopped no lease
    is taken over, so that only the message can complete the execution.
    """
    scenario.stop_the_clock()
    execution_id = scenario.submit("x")
    scenario.wait_for_run("x")
    scenario.cluster.kill("control-1")
    scenario.open_gate("x")
    eventually(lambda: scenario.outcomes == 1, what="the outcome in its queue")
    scenario.cluster.kill(WORKER)
    assert scenario.history(execution_id).kinds == ["SUBMITTED", "CLAIMED"]

    scenario.cluster.start("control-1")
    assert scenario.ended(execution_id).kinds == ["SUBMITTED", "CLAIMED", "SUCCEEDED"]
    assert scenario.runs("x") == 1


def test_the_late_outcome_of_a_worker_that_seemed_dead_is_dropped(scenario: Scenario) -> None:
    """It is frozen during its step until its lease has expired and another worker has run the transition."""
    execution_id = scenario.submit("x")
    scenario.wait_for_run("x")
    frozen = scenario.cluster.process(WORKER)
    frozen.send(SIGSTOP)
    try:
        scenario.cluster.host("successor", scenario.release)
        eventually(lambda: scenario.runs("x") == 2, what="the successor's run")
        scenario.open_gate("x")
        assert scenario.ended(execution_id).kinds == TAKEN_OVER
    finally:
        os.kill(frozen.pid, SIGCONT)
    scenario.wait_for_event(execution_id, "OUTCOME_DROPPED")
    found = scenario.ended(execution_id)
    assert found.kinds == [*TAKEN_OVER, "OUTCOME_DROPPED"]
    assert [event.actor for event in found.events[-2:]] == ["worker:successor", f"worker:{WORKER}"]
    scenario.cluster.remove("successor")
