"""PostgreSQL dies while work is in flight. What becomes of it when the broker does is in `tests/e2e`."""

from signal import SIGQUIT

from tests.building import eventually
from tests.recovery.scene import Scene


def test_an_outcome_that_found_no_database_is_recorded_when_it_is_back(scene: Scene) -> None:
    """PostgreSQL is killed during the step, and is down until a control worker has taken the outcome from its queue.
    With the clock stopped no lease is taken away: only that message can end the execution.
    """
    scene.stop_the_clock()
    made = scene.submit("x")
    scene.wait_for_run("x")
    scene.cluster.postgres.kill()
    scene.open_gate("x")
    scene.wait_for_run("x", "ended")
    control = scene.cluster.process("control-1")
    eventually(lambda: "executions.record" in control.log_tail(400), what="the attempt to record")
    scene.cluster.postgres.start()

    assert scene.ended(made).kinds == ["SUBMITTED", "CLAIMED", "SUCCEEDED"]
    assert scene.runs("x") == 1


def test_an_immediate_shutdown_of_the_database_loses_nothing_that_was_accepted(scene: Scene) -> None:
    made = [scene.submit(str(number)) for number in range(4)]
    eventually(lambda: sum(scene.runs(str(number)) for number in range(4)) == 2, what="two steps")
    database = scene.cluster.postgres
    assert database.child is not None
    database.child.send(SIGQUIT)
    database.child.wait(30)
    for number in range(4):
        scene.open_gate(str(number))
    database.start()
    for execution_id in made:
        assert scene.ended(execution_id).status == "SUCCEEDED"
