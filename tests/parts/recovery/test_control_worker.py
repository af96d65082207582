"""The control worker is killed during a claim, a send or a record, or is asked to end."""

from signal import SIGTERM

from executions.state_machine.statements import CLAIM
from tests.building import eventually
from tests.parts.recovery.scenario import Scenario

ONCE = ["SUBMITTED", "CLAIMED", "SUCCEEDED"]
TAKEN_OVER = ["SUBMITTED", "CLAIMED", "LEASE_EXPIRED", "CLAIMED", "SUCCEEDED"]
# The transaction that records an outcome begins by locking its executions.
RECORD = "FOR NO KEY UPDATE"
# An uncommitted transaction inserts the second event of an execution, without triggers, so that other inserts wait.
HOLD_SECOND_EVENT = """
WITH no_triggers AS (SELECT set_config('session_replication_role', 'replica', true))
INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
SELECT %s, 2, 'CLAIMED', 'RUNNING', 'test', '{}', now() FROM no_triggers
"""
HOLD_EVENTS = "LOCK TABLE executions_executionevent IN EXCLUSIVE MODE"


def test_a_claim_that_commits_after_its_process_died_is_taken_over(scenario: Scenario) -> None:
    """The claim waits to insert its event, so no command was sent. PostgreSQL notices the lost connection only when it
    sends a response. The statement therefore completes and commits a lease that no process uses.
    """
    scenario.stop_the_clock()  # its sweeps would also claim
    scenario.cluster.kill("control-1")
    with scenario.without_dispatch_from_web():
        execution_id = scenario.submit("x")
    scenario.open_gate("x")
    with scenario.locked(HOLD_SECOND_EVENT, execution_id):
        scenario.cluster.start("control-1")
        scenario.wait_for_lock(CLAIM)
        scenario.cluster.kill("control-1")
    scenario.wait_for_event(execution_id, "CLAIMED")
    assert (scenario.commands, scenario.runs("x")) == (0, 0)

    scenario.cluster.restore()
    assert scenario.ended(execution_id).kinds == TAKEN_OVER
    assert scenario.runs("x") == 1


def test_a_claim_whose_command_was_never_sent_is_taken_over(scenario: Scenario) -> None:
    """The broker is frozen before the claim may continue. The claim commits, and its process is killed before the
    broker can have acknowledged the command. Data in the broker's socket is lost with the broker, whose log contains
    everything that it ever acknowledged.
    """
    scenario.stop_the_clock()
    scenario.cluster.kill("control-1")
    with scenario.without_dispatch_from_web():
        execution_id = scenario.submit("x")
    scenario.open_gate("x")
    broker = scenario.cluster.valkey
    assert broker.child is not None
    with scenario.locked(HOLD_EVENTS) as lock:
        scenario.cluster.start("control-1")
        scenario.wait_for_lock(CLAIM)
        with scenario.cluster.stopped(broker.child):
            lock.rollback()
            scenario.wait_for_event(execution_id, "CLAIMED")
            scenario.cluster.kill("control-1")
            broker.kill()
    broker.start()
    assert (scenario.commands, scenario.runs("x")) == (0, 0)

    scenario.cluster.restore()
    assert scenario.ended(execution_id).kinds == TAKEN_OVER
    assert scenario.runs("x") == 1


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
        scenario.wait_for_lock(RECORD)
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
        scenario.wait_for_lock(RECORD)
        control.send(SIGTERM)
        eventually(lambda: "Warm shutdown" in control.log_tail(400), what="the start of the shutdown")
    assert (control.wait(30), scenario.unacknowledged) == (0, 0)
    scenario.cluster.kill("control-1")
    assert scenario.ended(execution_id).kinds == ONCE
    assert scenario.runs("x") == 1


def test_an_outcome_that_was_recorded_but_not_acknowledged_counts_once(scenario: Scenario) -> None:
    """The broker is frozen before the row is unlocked. The record commits, and the acknowledgement in the broker's
    socket is lost with the broker. The unacknowledged message is delivered again.
    """
    execution_id = scenario.submit("x")
    scenario.wait_for_run("x")
    broker = scenario.cluster.valkey
    assert broker.child is not None
    with scenario.locked_row(execution_id) as lock:
        scenario.open_gate("x")
        scenario.wait_for_lock(RECORD)
        with scenario.cluster.stopped(broker.child):
            lock.rollback()
            scenario.wait_for_event(execution_id, "SUCCEEDED")
            scenario.cluster.kill("control-1")
            broker.kill()
    broker.start()

    scenario.cluster.start("control-1")
    scenario.wait_for_event(execution_id, "OUTCOME_DROPPED")
    found = scenario.ended(execution_id)
    assert (found.kinds, found.version) == ([*ONCE, "OUTCOME_DROPPED"], 2)
    assert scenario.runs("x") == 1


def test_all_executions_continue_after_every_process_was_killed_at_once(scenario: Scenario) -> None:
    execution_ids = [scenario.submit(str(number)) for number in range(4)]
    eventually(lambda: scenario.runs("0") or scenario.runs("1"), what="a step")
    for member in scenario.cluster.members:
        scenario.cluster.kill(member)
    for number in range(4):
        scenario.open_gate(str(number))
    scenario.cluster.restore()
    for execution_id in execution_ids:
        assert scenario.ended(execution_id).status == "SUCCEEDED"
