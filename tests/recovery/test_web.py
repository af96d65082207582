"""The web process dies in the middle of a submission, and the client gets no answer."""

from concurrent.futures import ThreadPoolExecutor
from signal import SIGTERM

import pytest
import requests

from tests.building import eventually
from tests.recovery.scene import Scene


def kept(scene: Scene, key: str) -> list[str]:
    query = "SELECT id::text FROM executions_execution WHERE execution_key = %s"
    with scene.cluster.connect() as connection:
        return [execution_id for (execution_id,) in connection.execute(query, [f"{scene.folder.name}-{key}"])]


def test_a_submission_that_was_committed_and_never_answered_runs_once(scene: Scene) -> None:
    """The broker stands still, so the bell after the commit waits for its answer, and there the process is killed."""
    scene.open_gate("x")
    broker = scene.cluster.valkey
    assert broker.child is not None
    with scene.without_dispatch_from_web(), ThreadPoolExecutor(1) as pool, scene.cluster.stopped(broker.child):
        answer = pool.submit(scene.submit, "x")
        [made] = eventually(lambda: kept(scene, "x"), what="the committed submission")
        assert not answer.done()
        scene.cluster.kill("web")
        with pytest.raises(requests.ConnectionError):
            answer.result(timeout=30)

    value = {"folder": str(scene.place("x"))}
    body = {"pipelineId": scene.release.pipeline_id, "input": value, "idempotencyKey": f"{scene.folder.name}-x"}
    again = scene.cluster.post("executions", body)
    assert (again.status_code, again.json()["executionId"], again.json()["duplicate"]) == (200, made, True)
    assert scene.ended(made).kinds == ["SUBMITTED", "CLAIMED", "SUCCEEDED"]
    assert (scene.runs("x"), kept(scene, "x")) == (1, [made])


def test_what_it_claimed_and_never_sent_is_taken_over(scene: Scene) -> None:
    """It sends out itself what it took in. The broker stands still, so the claim is committed and cannot be sent."""
    scene.stop_the_clock()
    scene.open_gate("x")
    broker = scene.cluster.valkey
    assert broker.child is not None
    with scene.cluster.stopped(broker.child):
        made = scene.submit("x")
        scene.wait_for_event(made, "CLAIMED")
        scene.cluster.kill("web")
        broker.kill()
    broker.start()
    assert (scene.commands, scene.runs("x")) == (0, 0)

    scene.cluster.restore()
    assert scene.ended(made).kinds == ["SUBMITTED", "CLAIMED", "LEASE_EXPIRED", "CLAIMED", "SUCCEEDED"]
    assert scene.runs("x") == 1


def test_what_it_claimed_is_sent_before_it_ends(scene: Scene) -> None:
    """It is asked to end while the broker stands still: the claim is committed, and nobody else would send it now."""
    scene.stop_the_clock()
    scene.open_gate("x")
    broker, web = scene.cluster.valkey.child, scene.cluster.process("web")
    assert broker is not None
    with scene.cluster.stopped(broker):
        made = scene.submit("x")
        scene.wait_for_event(made, "CLAIMED")
        web.send(SIGTERM)
        with pytest.raises(TimeoutError):
            web.wait(1)
    web.wait(10)
    assert scene.ended(made).kinds == ["SUBMITTED", "CLAIMED", "SUCCEEDED"]
    scene.cluster.kill("web")


def test_a_submission_that_was_not_committed_leaves_nothing(scene: Scene) -> None:
    """Its INSERT waits to write the first event, inside a transaction that nobody is left to commit."""
    scene.open_gate("x")
    with ThreadPoolExecutor(1) as pool, scene.locked("LOCK TABLE executions_executionevent IN EXCLUSIVE MODE"):
        answer = pool.submit(scene.submit, "x")
        scene.wait_for_lock()
        scene.cluster.kill("web")
        with pytest.raises(requests.ConnectionError):
            answer.result(timeout=30)
    scene.cluster.start("web")
    scene.cluster.product.wait_until_ready()
    assert kept(scene, "x") == []
    made = scene.submit("x")
    assert scene.ended(made).kinds == ["SUBMITTED", "CLAIMED", "SUCCEEDED"]
    assert scene.runs("x") == 1
