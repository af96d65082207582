"""One worker runs every trick of the hostile pipeline, and well-behaved steps too. It is restarted when it ends."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from executions.models.states import TERMINAL
from tests.building import BuiltRelease, build, eventually
from tests.hostile.expected import ENDING, FAILURES, PIPELINE, TAMPERING
from tests.parts.recovery import hostile
from tests.parts.recovery.campaign import pin_of
from tests.parts.recovery.cluster import Cluster
from tests.parts.recovery.history import History, histories
from tests.parts.recovery.hostile import HostileJob
from tests.parts.recovery.verdict import broken_promises, contradictions

WORKER = "worker-hostile"


@pytest.fixture
def worker(cluster: Cluster, tmp_path: Path) -> Iterator[BuiltRelease]:
    release = build("hostile:pipeline", PIPELINE, tmp_path / "release", "all-tricks")
    cluster.publish(release)
    cluster.host(WORKER, release, concurrency=2)
    cluster.client().wait_for_worker(WORKER)
    cluster.client().activate(hostile.PIPELINE, release.version, "")
    yield release
    cluster.remove(WORKER)


def test_every_trick_has_its_expected_end_and_harms_no_other_execution(
    cluster: Cluster, worker: BuiltRelease, tmp_path: Path
) -> None:
    tricks = [*ENDING, *FAILURES, *TAMPERING, *["well"] * 20]
    jobs = [HostileJob(number, trick) for number, trick in enumerate(tricks, start=1_000)]
    runs = str(tmp_path / "runs")
    submitted = [cluster.client().submit(hostile.PIPELINE, job.input(runs), job.key) for job in jobs]
    exit_statuses: Counter[int | None] = Counter()

    def found() -> dict[str, History]:
        with cluster.connect() as connection:
            return {each.key: each for each in histories(connection, pipeline_id=hostile.PIPELINE)}

    def all_ended() -> bool:
        if WORKER in cluster.ended_members():
            exit_statuses[cluster.process(WORKER).status] += 1
            cluster.restart(WORKER)
        histories = found()
        return all(histories[job.key].status in TERMINAL for job in jobs)

    eventually(all_ended, seconds=240, what="the end of every execution")
    assert exit_statuses == Counter(hostile.STATUSES), "only the steps that end their process ended it"
    ended = found()
    differences = []
    for job, each in zip(jobs, submitted, strict=True):
        promise = job.promise(each["executionId"], pin_of(each), runs)
        history = ended[job.key]
        differences += [
            f"{job.trick}: {what}" for what in (*contradictions(history), *broken_promises(promise, history))
        ]
    assert differences == []
