"""PostgreSQL is killed while executions run. The broker is killed in `tests/parts/product`."""

from signal import SIGQUIT

from tests.building import eventually
from tests.parts.recovery.scenario import Scenario


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

    assert scenario.ended(execution_id).kinds == ["SUBMITTED", "CLAIMED", "SUCCEEDED"]
    assert scenario.runs("x") == 1


def test_an_immediate_shutdown_of_the_database_loses_no_accepted_execution(scenario: Scenario) -> None:
    execution_ids = [scenario.submit(str(number)) for number in range(4)]
    eventually(lambda: sum(scenario.runs(str(number)) for number in range(4)) == 2, what="two steps")
    database = scenario.cluster.postgres
    assert database.child is not None
    database.child.send(SIGQUIT)
    database.child.wait(30)
    for number in range(4):
        scenario.open_gate(str(number))
    database.start()
    for execution_id in execution_ids:
        assert scenario.ended(execution_id).status == "SUCCEEDED"
