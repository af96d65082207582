"""The web process, control workers and transition workers are killed, frozen or asked to end.

`tests/e2e/test_product.py` kills a transition worker during a step.
"""

from concurrent.futures import ThreadPoolExecutor
from signal import SIGTERM

import pytest

from coordinator_client.errors import Unreachable
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


def stored_executions(scenario: Scenario, key: str) -> list[str]:
    query = "SELECT id::text FROM executions_execution WHERE execution_key = %s"
    with scenario.cluster.connect() as connection:
        return [execution_id for (execution_id,) in connection.execute(query, [f"{scenario.folder.name}-{key}"])]


def test_a_committed_submission_without_a_response_runs_once(scenario: Scenario) -> None:
    """The broker is frozen. The process is killed while it sends the wake-up after the commit."""
    scenario.open_gate("x")
    broker = scenario.cluster.valkey
    assert broker.child is not None
    with scenario.without_dispatch_from_web(), ThreadPoolExecutor(1) as pool, scenario.cluster.stopped(broker.child):
        response = pool.submit(scenario.submit, "x")
        [execution_id] = eventually(lambda: stored_executions(scenario, "x"), what="the committed submission")
        assert not response.done()
        scenario.cluster.kill("web")
        with pytest.raises(Unreachable):
            response.result(timeout=30)

    value = {"folder": str(scenario.folder_of("x"))}
    body = {"pipelineId": scenario.release.pipeline_id, "input": value, "idempotencyKey": f"{scenario.folder.name}-x"}
    repeated = scenario.cluster.post("executions", body)
    assert (repeated.status_code, repeated.json()["executionId"]) == (200, execution_id)
    assert scenario.ended(execution_id).kinds == ["SUBMITTED", "CLAIMED", "SUCCEEDED"]
    assert (scenario.runs("x"), stored_executions(scenario, "x")) == (1, [execution_id])


def test_a_claim_whose_command_was_never_sent_is_taken_over(scenario: Scenario) -> None:
    """The web process dispatches its own submission. The broker is frozen, so the claim commits but is not sent."""
    scenario.stop_the_clock()
    scenario.open_gate("x")
    broker = scenario.cluster.valkey
    assert broker.child is not None
    with scenario.cluster.stopped(broker.child):
        execution_id = scenario.submit("x")
        scenario.wait_for_event(execution_id, "CLAIMED")
        scenario.cluster.kill("web")
        broker.kill()
    broker.start()
    assert (scenario.commands, scenario.runs("x")) == (0, 0)

    scenario.cluster.restore()
    assert scenario.ended(execution_id).kinds == ["SUBMITTED", "CLAIMED", "LEASE_EXPIRED", "CLAIMED", "SUCCEEDED"]
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
