"""A transition worker dies: with a command in hand, with an outcome in hand, or it only seemed to.

That a worker dies in the middle of a step is in `tests/e2e/test_execution.py`.
"""

import os
from signal import SIGCONT, SIGSTOP

from tests.building import eventually
from tests.recovery.scene import WORKER, Scene

ONCE = ["SUBMITTED", "CLAIMED", "SUCCEEDED"]
TAKEN_OVER = ["SUBMITTED", "CLAIMED", "LEASE_EXPIRED", "CLAIMED", "SUCCEEDED"]


def test_a_command_that_was_received_and_not_begun_runs_elsewhere(scene: Scene) -> None:
    """Two commands come in one message and run one after the other: while the first waits at its gate, the second is
    in the worker's hand, and the queue is empty. With the first it dies in the middle of a step.
    """
    scene.cluster.kill("control-1")
    first, second = scene.submit("first"), scene.submit("second")
    scene.cluster.start("control-1")
    eventually(lambda: scene.runs("first") or scene.runs("second"), what="one of the two steps")
    begun, waiting = ("first", "second") if scene.runs("first") else ("second", "first")
    assert [scene.history(each).kinds for each in (first, second)] == [["SUBMITTED", "CLAIMED"]] * 2
    assert scene.commands == 0
    scene.cluster.kill(WORKER)
    assert scene.runs(waiting) == 0

    scene.open_gate("first")
    scene.open_gate("second")
    scene.cluster.start(WORKER)
    assert [scene.ended(each).kinds[:5] for each in (first, second)] == [TAKEN_OVER] * 2
    assert (scene.runs(begun, "ended"), scene.runs(waiting, "ended")) == (1, 1)


def test_an_outcome_that_was_never_sent_is_made_again(scene: Scene) -> None:
    """The broker is killed while the step waits at its gate: whatever the worker tries to send after the step's end
    is refused, and it dies with the outcome in its memory alone.
    """
    made = scene.submit("x")
    scene.wait_for_run("x")
    scene.cluster.valkey.kill()
    scene.open_gate("x")
    scene.wait_for_run("x", "ended")
    scene.cluster.kill(WORKER)
    scene.cluster.valkey.start()
    assert scene.history(made).kinds == ["SUBMITTED", "CLAIMED"]

    scene.cluster.start(WORKER)
    found = scene.ended(made)
    assert found.kinds[:3] == TAKEN_OVER[:3]
    assert (found.count("SUCCEEDED"), found.attempt, found.result) == (1, 0, [{"attempt": 0}])
    assert scene.runs("x", "ended") == 2


def test_a_command_outlives_who_sent_it(scene: Scene) -> None:
    """The queue holds the command when the control worker is killed; its worker was killed before. With the clock
    stopped no lease is taken away, so that the message must do its work by itself.
    """
    scene.stop_the_clock()
    scene.cluster.kill(WORKER)
    made = scene.submit("x")
    eventually(lambda: scene.commands == 1, what="the command in its queue")
    scene.cluster.kill("control-1")
    scene.open_gate("x")
    assert (scene.history(made).kinds, scene.runs("x")) == (["SUBMITTED", "CLAIMED"], 0)

    scene.cluster.start(WORKER)
    scene.cluster.start("control-1")
    assert scene.ended(made).kinds == ONCE
    assert scene.runs("x") == 1


def test_an_outcome_outlives_its_worker(scene: Scene) -> None:
    """Of those who sent the command and who ran it nobody is alive when the outcome is recorded: the control worker is
    killed during the step, and the worker once the queue holds its outcome. The clock is stopped, as above.
    """
    scene.stop_the_clock()
    made = scene.submit("x")
    scene.wait_for_run("x")
    scene.cluster.kill("control-1")
    scene.open_gate("x")
    eventually(lambda: scene.outcomes == 1, what="the outcome in its queue")
    scene.cluster.kill(WORKER)
    assert scene.history(made).kinds == ["SUBMITTED", "CLAIMED"]

    scene.cluster.start("control-1")
    assert scene.ended(made).kinds == ONCE
    assert scene.runs("x") == 1


def test_a_worker_that_only_seemed_dead_is_too_late(scene: Scene) -> None:
    """It stands still in the middle of its step until its lease is lost and another worker has done its work."""
    made = scene.submit("x")
    scene.wait_for_run("x")
    frozen = scene.cluster.process(WORKER)
    frozen.send(SIGSTOP)
    try:
        scene.cluster.host("successor", scene.release)
        eventually(lambda: scene.runs("x") == 2, what="the successor's run")
        scene.open_gate("x")
        assert scene.ended(made).kinds == TAKEN_OVER
    finally:
        os.kill(frozen.pid, SIGCONT)
    scene.wait_for_event(made, "OUTCOME_DROPPED")
    found = scene.ended(made)
    assert found.kinds == [*TAKEN_OVER, "OUTCOME_DROPPED"]
    assert [event.actor for event in found.events[-2:]] == ["worker:successor", f"worker:{WORKER}"]
    scene.cluster.dismiss("successor")
