"""A transition worker is killed while it holds a command or an outcome, or is frozen and seems dead.

`tests/e2e/test_product.py` kills a worker during a step.
"""

import os
from signal import SIGCONT, SIGSTOP

from tests.building import eventually
from tests.parts.recovery.scenario import WORKER, Scenario

ONCE = ["SUBMITTED", "CLAIMED", "SUCCEEDED"]
TAKEN_OVER = ["SUBMITTED", "CLAIMED", "LEASE_EXPIRED", "CLAIMED", "SUCCEEDED"]


def test_commands_that_were_received_together_run_on_another_worker(scenario: Scenario) -> None:
    """When the worker is killed, it runs both, each waits at its gate, and the queue is empty."""
    scenario.cluster.kill("control-1")
    execution_ids = [scenario.submit("first"), scenario.submit("second")]
    scenario.cluster.start("control-1")
    for key in ("first", "second"):
        scenario.wait_for_run(key)
    assert [scenario.history(each).kinds for each in execution_ids] == [["SUBMITTED", "CLAIMED"]] * 2
    assert scenario.commands == 0
    scenario.cluster.kill(WORKER)
    assert [scenario.runs(key, "ended") for key in ("first", "second")] == [0, 0]

    scenario.open_gate("first")
    scenario.open_gate("second")
    scenario.cluster.start(WORKER)
    assert [scenario.ended(each).kinds[:5] for each in execution_ids] == [TAKEN_OVER] * 2
    assert [scenario.runs(key, "ended") for key in ("first", "second")] == [1, 1]


def test_a_transition_whose_outcome_was_never_sent_runs_again(scenario: Scenario) -> None:
    """The broker is killed while the step waits at its gate. The worker cannot send the outcome, which exists only in
    its memory when it is killed.
    """
    execution_id = scenario.submit("x")
    scenario.wait_for_run("x")
    scenario.cluster.valkey.kill()
    scenario.open_gate("x")
    scenario.wait_for_run("x", "ended")
    scenario.cluster.kill(WORKER)
    scenario.cluster.valkey.start()
    assert scenario.history(execution_id).kinds == ["SUBMITTED", "CLAIMED"]

    scenario.cluster.start(WORKER)
    found = scenario.ended(execution_id)
    assert found.kinds[:3] == TAKEN_OVER[:3]
    assert (found.count("SUCCEEDED"), found.attempt, found.result) == (1, 0, [{"attempt": 0}])
    assert scenario.runs("x", "ended") == 2


def test_a_command_is_executed_after_its_sender_was_killed(scenario: Scenario) -> None:
    """The queue holds the command when the control worker is killed. The transition worker was killed before. With the
    clock stopped no lease is taken over, so that only the message can complete the execution.
    """
    with scenario.lease_of(60):
        scenario.stop_the_clock()
        scenario.cluster.kill(WORKER)
        execution_id = scenario.submit("x")
        eventually(lambda: scenario.commands == 1, what="the command in its queue")
        scenario.cluster.kill("control-1")
        scenario.open_gate("x")
        assert (scenario.history(execution_id).kinds, scenario.runs("x")) == (["SUBMITTED", "CLAIMED"], 0)

        scenario.cluster.start(WORKER)
        scenario.cluster.start("control-1")
        assert scenario.ended(execution_id).kinds == ONCE
        assert scenario.runs("x") == 1


def test_an_outcome_is_recorded_after_its_worker_was_killed(scenario: Scenario) -> None:
    """The sender of the command and its worker are both dead when the outcome is recorded. The control worker is
    killed during the step, and the transition worker once the queue holds its outcome. The clock is stopped, as above.
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
    assert scenario.ended(execution_id).kinds == ONCE
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
