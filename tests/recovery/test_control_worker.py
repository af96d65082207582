"""The control worker dies around the claim, around sending, and around recording; or is told to end."""

from signal import SIGTERM

from tests.building import eventually
from tests.recovery.scene import Scene

ONCE = ["SUBMITTED", "CLAIMED", "SUCCEEDED"]
TAKEN_OVER = ["SUBMITTED", "CLAIMED", "LEASE_EXPIRED", "CLAIMED", "SUCCEEDED"]
# An outcome's transaction begins by holding the rows that it is about.
RECORD = "FOR NO KEY UPDATE"
# The place of an execution's second event is taken by a transaction that will not commit, past all triggers.
HOLD_SECOND_EVENT = """
WITH past AS (SELECT set_config('session_replication_role', 'replica', true))
INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
SELECT %s, 2, 'CLAIMED', 'RUNNING', 'nobody', '{}', now() FROM past
"""
HOLD_EVENTS = "LOCK TABLE executions_executionevent IN EXCLUSIVE MODE"


def test_a_claim_whose_claimant_died_in_it_is_taken_over(scene: Scene) -> None:
    """The claim waits to write its event, so nothing can have been sent. PostgreSQL does not miss the dead client
    before it answers him: the statement goes on and commits a lease that nobody holds.
    """
    scene.stop_the_clock()  # its sweeps would claim too
    scene.cluster.kill("control-1")
    with scene.without_dispatch_from_web():
        made = scene.submit("x")
    scene.open_gate("x")
    with scene.locked(HOLD_SECOND_EVENT, made):
        scene.cluster.start("control-1")
        scene.wait_for_lock()
        scene.cluster.kill("control-1")
    scene.wait_for_event(made, "CLAIMED")
    assert (scene.commands, scene.runs("x")) == (0, 0)

    scene.cluster.restore()
    assert scene.ended(made).kinds == TAKEN_OVER
    assert scene.runs("x") == 1


def test_what_was_claimed_and_never_sent_is_taken_over(scene: Scene) -> None:
    """The broker stands still before the claim is let go: the claim commits, and its claimant is killed before the
    broker can have answered. What he had written to the broker's socket dies with the broker, which finds in its log
    all that it ever answered for.
    """
    scene.stop_the_clock()
    scene.cluster.kill("control-1")
    with scene.without_dispatch_from_web():
        made = scene.submit("x")
    scene.open_gate("x")
    broker = scene.cluster.valkey
    assert broker.child is not None
    with scene.locked(HOLD_EVENTS) as held:
        scene.cluster.start("control-1")
        scene.wait_for_lock()
        with scene.cluster.stopped(broker.child):
            held.rollback()
            scene.wait_for_event(made, "CLAIMED")
            scene.cluster.kill("control-1")
            broker.kill()
    broker.start()
    assert (scene.commands, scene.runs("x")) == (0, 0)

    scene.cluster.restore()
    assert scene.ended(made).kinds == TAKEN_OVER
    assert scene.runs("x") == 1


def test_an_outcome_in_hand_comes_back_and_is_recorded(scene: Scene) -> None:
    """The outcome's UPDATE waits for a row that the test has locked; what it did is rolled back with its connection.
    With the clock stopped no lease is taken away: only the message itself can end the execution.

    Control workers look for messages in dead hands one at a time, under a lock in the broker. Here it is held by a
    process that died at it: the test takes it, as they do, and never gives it back.
    """
    scene.stop_the_clock()
    made = scene.submit("x")
    scene.wait_for_run("x")
    with scene.locked_row(made):
        scene.open_gate("x")
        scene.wait_for_lock(RECORD)
        scene.cluster.kill("control-1")
    assert (scene.history(made).kinds, scene.outcomes) == (["SUBMITTED", "CLAIMED"], 0)
    scene.lock_search_for_dead_hands()

    scene.cluster.start("control-1")
    assert scene.ended(made).kinds == ONCE
    assert scene.runs("x") == 1


def test_a_control_worker_that_is_told_to_end_records_what_it_has_in_hand(scene: Scene) -> None:
    """It is told while the outcome's UPDATE waits for the row, and ends once that is through and acknowledged."""
    scene.stop_the_clock()
    made = scene.submit("x")
    scene.wait_for_run("x")
    control = scene.cluster.process("control-1")
    with scene.locked_row(made):
        scene.open_gate("x")
        scene.wait_for_lock(RECORD)
        control.send(SIGTERM)
        eventually(lambda: "Warm shutdown" in control.log_tail(400), what="the end of the control worker begun")
    assert (control.wait(30), scene.in_hand) == (0, 0)
    scene.cluster.kill("control-1")
    assert scene.ended(made).kinds == ONCE
    assert scene.runs("x") == 1


def test_an_outcome_that_was_recorded_and_not_acknowledged_counts_once(scene: Scene) -> None:
    """The broker stands still before the row is let go: the record commits, and whatever its process then wrote to the
    broker's socket dies with the broker. The message is not acknowledged, and delivered once more.
    """
    made = scene.submit("x")
    scene.wait_for_run("x")
    broker = scene.cluster.valkey
    assert broker.child is not None
    with scene.locked_row(made) as held:
        scene.open_gate("x")
        scene.wait_for_lock(RECORD)
        with scene.cluster.stopped(broker.child):
            held.rollback()
            scene.wait_for_event(made, "SUCCEEDED")
            scene.cluster.kill("control-1")
            broker.kill()
    broker.start()

    scene.cluster.start("control-1")
    scene.wait_for_event(made, "OUTCOME_DROPPED")
    found = scene.ended(made)
    assert (found.kinds, found.version) == ([*ONCE, "OUTCOME_DROPPED"], 2)
    assert scene.runs("x") == 1


def test_with_every_process_killed_at_once_all_goes_on_where_it_was(scene: Scene) -> None:
    made = [scene.submit(str(number)) for number in range(4)]
    eventually(lambda: scene.runs("0") or scene.runs("1"), what="a step")
    for member in scene.cluster.members:
        scene.cluster.kill(member)
    for number in range(4):
        scene.open_gate(str(number))
    scene.cluster.restore()
    for execution_id in made:
        assert scene.ended(execution_id).status == "SUCCEEDED"
