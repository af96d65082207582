"""One worker runs every trick of the hostile pipeline, and well-behaved steps too. It is restarted when it ends."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from executions.models.states import TERMINAL
from tests.building import BuiltRelease, build, eventually
from tests.hostile.expected import ENDING, FAILURES, PIPELINE, TAMPERING
from tests.recovery import hostile
from tests.recovery.campaign import pin_of
from tests.recovery.cluster import Cluster
from tests.recovery.history import History, histories
from tests.recovery.hostile import HostileJob
from tests.recovery.verdict import broken, unlawful

WORKER = "worker-hostile"


@pytest.fixture
def worker(cluster: Cluster, tmp_path: Path) -> Iterator[BuiltRelease]:
    release = build("hostile:pipeline", PIPELINE, tmp_path / "release", "all-tricks")
    cluster.publish(release)
    cluster.host(WORKER, release, concurrency=2)
    cluster.client().wait_for_worker(WORKER)
    cluster.client().activate(hostile.PIPELINE, release.version, "")
    yield release
    cluster.dismiss(WORKER)


@pytest.mark.timeout(300)
def test_every_trick_comes_to_its_own_end_and_harms_no_other(
    cluster: Cluster, worker: BuiltRelease, tmp_path: Path
) -> None:
    tricks = [*ENDING, *FAILURES, *TAMPERING, *["well"] * 20]
    jobs = [HostileJob(number, trick) for number, trick in enumerate(tricks, start=1_000)]
    runs = str(tmp_path / "runs")
    submitted = [cluster.client().submit(hostile.PIPELINE, job.input(runs), job.key) for job in jobs]
    ends: Counter[int | None] = Counter()

    def found() -> dict[str, History]:
        with cluster.connect() as connection:
            return {one.key: one for one in histories(connection, pipeline_id=hostile.PIPELINE)}

    def over() -> bool:
        if WORKER in cluster.fallen():
            ends[cluster.process(WORKER).status] += 1
            cluster.restart(WORKER)
        histories = found()
        return all(histories[job.key].status in TERMINAL for job in jobs)

    eventually(over, seconds=240, what="the end of every execution")
    assert ends == Counter(hostile.STATUSES), "the steps that end their process did, and nothing else"
    ended = found()
    wrong = []
    for job, each in zip(jobs, submitted, strict=True):
        promise = job.promise(each["executionId"], pin_of(each), runs)
        of = ended[job.key]
        wrong += [f"{job.trick}: {what}" for what in (*unlawful(of), *broken(promise, of))]
    assert wrong == []
