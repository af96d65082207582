"""A broker that is away or full for longer than a worker may be silent, under load: work is late, and that is all."""

from collections.abc import Iterator

import pytest

from tests.recovery.cluster import Cluster
from tests.recovery.outage import outage, submitted
from tests.recovery.scene import Scene

STALE_SECONDS = 4
OUTAGE_SECONDS = 8


@pytest.fixture
def impatient(scene: Scene) -> Iterator[Scene]:
    """The scene with a coordinator that takes a worker for dead after STALE_SECONDS of silence."""
    scene.open_gate("first")
    scene.ended(scene.submit("first"))  # from now on the worker beats as often as its short lease wants
    environment = scene.cluster.product.environment
    before = environment["WORKER_STALE_SECONDS"]
    environment["WORKER_STALE_SECONDS"] = str(STALE_SECONDS)
    restart(scene.cluster)
    try:
        yield scene
    finally:
        environment["WORKER_STALE_SECONDS"] = before
        restart(scene.cluster)


def restart(cluster: Cluster) -> None:
    for name in ("web", "control-1"):
        cluster.restart(name)
    cluster.restore()
    cluster.client().wait_for_worker("worker")


def test_submissions_are_accepted_all_the_while_and_their_histories_stay_short(impatient: Scene) -> None:
    for fault in ("away", "full"):
        assert_submissions_continue(impatient, fault)


def assert_submissions_continue(impatient: Scene, fault: str) -> None:
    before = submitted(impatient, f"before-{fault}", 2)
    long = impatient.submit(f"long-{fault}")
    impatient.wait_for_run(f"long-{fault}")
    with outage(impatient.cluster, fault):
        during = submitted(impatient, f"during-{fault}", OUTAGE_SECONDS)
    after = submitted(impatient, f"after-{fault}", STALE_SECONDS + 2)
    impatient.open_gate(f"long-{fault}")
    ended = impatient.ended(long)

    assert (ended.count("CLAIMED"), impatient.runs(f"long-{fault}")) == (1, 1), ended.kinds
    assert {each["httpStatus"] for each in before + during + after} == {202}
    assert not any(each["dispatchDelayed"] for each in before)
    assert all(each["dispatchDelayed"] for each in during[len(during) // 2 :])
    for each in before + during + after:
        history = impatient.ended(each["executionId"], seconds=90)
        assert history.status == "SUCCEEDED"
        assert history.count("CLAIMED") <= 3, history.kinds
    assert not submitted(impatient, f"last-{fault}", 0.1)[0]["dispatchDelayed"]
