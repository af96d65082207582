"""The campaign: runs hundreds of executions while processes are killed at random, and checks the results.

    python -m tests.parts.recovery.campaign --seed 7 --executions 500

The seed determines the submissions and the order of the strikes. What a process does at the time of a strike depends on
the machine. The exit status is 1 if an execution was lost or an effect happened twice.
"""

import argparse
import secrets
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random

import psycopg

import tests.standalone  # noqa: F401 - this module is also a program
from tests.building import BuiltRelease, build
from tests.hostile.expected import PIPELINE as HOSTILE_SOURCE
from tests.parts.recovery import hostile
from tests.parts.recovery.chaos import Chaos
from tests.parts.recovery.cluster import Cluster
from tests.parts.recovery.history import History, histories
from tests.parts.recovery.hostile import HostileJob, hostile_jobs
from tests.parts.recovery.retrying_client import RetryingClient
from tests.parts.recovery.verdict import Promise, faults
from tests.parts.recovery.workload import PIPELINE, Job, jobs, pin_of, runs_of

SOURCE = Path(__file__).parent / "pipelines/v1"
WORKERS = [(version, f"worker-{version}-{letter}") for version in ("v1", "v2", hostile.VERSION) for letter in "ab"]
HOSTILE_SHARE = 0.2
"""The share of executions that run the hostile pipeline."""
UNFINISHED_SHARE = 0.25
"""The strikes end after enough kills, once at most this share of the executions has not ended."""
SUBMITTERS = 4
RESPONDERS = 2
TIMEOUT_SECONDS = 600.0
"""The limit of the time with strikes, and also of the time after them."""


class Campaign:
    """One campaign in a running cluster."""

    def __init__(self, cluster: Cluster, folder: Path, seed: int, executions: int) -> None:
        self.cluster = cluster
        self.runs = folder / "runs"
        self.promises: list[Promise] = []
        rng = Random(seed)
        hostile_count = round(executions * HOSTILE_SHARE)
        self.jobs = jobs(rng, executions - hostile_count)
        self.all: list[Job | HostileJob] = [*self.jobs, *hostile_jobs(rng, hostile_count)]
        rng.shuffle(self.all)
        self.chaos = Chaos(self.cluster, rng, expected_statuses=hostile.STATUSES)
        self._folder = folder
        self._stop_answering = threading.Event()

    def run(self) -> list[str]:
        """Run all executions under strikes, and check and describe them. Return one line for each fault."""
        self._host_releases()
        client = RetryingClient(self.cluster)
        began = time.monotonic()
        self.chaos.start()
        try:
            with self._interactions_answered(client):
                self._submit_all(client)
                self._wait_for_the_end()
        finally:
            self.chaos.stop()
        seconds = time.monotonic() - began
        repetitions = self._repeat_all(client)
        with self.cluster.connect() as connection:
            found = [each for name in (PIPELINE, hostile.PIPELINE) for each in histories(connection, pipeline_id=name)]
        runs, versions = runs_of(self.runs), {each.key: each.pin[2] for each in found}
        needed = {job.key: list(job.steps(versions[job.key])) if job.key in versions else [] for job in self.all}
        wrong = faults(self.promises, found, runs, needed)
        if len(self.promises) != len(self.all):
            wrong.append(f"{len(self.all)} were submitted, but {len(self.promises)} were accepted")
        print(f"{len(found)} executions in {seconds:.0f} s, by state {dict(Counter(each.status for each in found))}")
        print(f"strikes: {dict(self.chaos.strikes)}; requests repeated: {dict(client.failed_requests)}")
        print(f"takeovers: {_count(found, 'LEASE_EXPIRED')}; outcomes dropped: {_count(found, 'OUTCOME_DROPPED')}")
        print(f"steps: {sum(map(len, needed.values()))} recorded, {sum(map(len, runs.values()))} ran")
        return [*wrong, *repetitions, *self.chaos.unexpected_ends]

    def _host_releases(self) -> None:
        """Register and host all releases. Activate v1 before the first strike."""
        releases = {version: self._built(version) for version in ("v1", "v2")}
        releases[hostile.VERSION] = build(
            "hostile:pipeline", HOSTILE_SOURCE, self._folder / hostile.VERSION, hostile.VERSION
        )
        self.cluster.add_control_worker("control-2")
        for version, name in WORKERS:
            self.cluster.host(name, releases[version], concurrency=4)
        for release in releases.values():
            self.cluster.publish(release)
        for _, name in WORKERS:
            self.cluster.client().wait_for_worker(name)
        self.cluster.client().activate(PIPELINE, "v1", "")
        self.cluster.client().activate(hostile.PIPELINE, hostile.VERSION, "")

    def _built(self, version: str) -> BuiltRelease:
        source = self._folder / f"source-{version}"
        source.mkdir()
        text = (SOURCE / "chaotic.py").read_text()
        (source / "chaotic.py").write_text(text.replace('VERSION = "v1"', f'VERSION = "{version}"'))
        return build("chaotic:pipeline", source, self._folder / version, version)

    def _submit_all(self, client: RetryingClient) -> None:
        """Submit half of the jobs before the activation of v2, a quarter during it and the rest after it."""
        half, most = len(self.all) // 2, len(self.all) * 3 // 4
        with ThreadPoolExecutor(SUBMITTERS) as pool:
            self.promises += pool.map(lambda job: self._submit(client, job), self.all[:half])
            activation = pool.submit(client.activate, PIPELINE, "v2")
            self.promises += pool.map(lambda job: self._submit(client, job), self.all[half:most])
            activation.result()
            self.promises += pool.map(lambda job: self._submit(client, job), self.all[most:])

    def _submit(self, client: RetryingClient, job: Job | HostileJob) -> Promise:
        _, accepted = client.submit(job.pipeline, job.input(str(self.runs)), job.key)
        return job.promise(accepted["executionId"], pin_of(accepted), str(self.runs))

    @contextmanager
    def _interactions_answered(self, client: RetryingClient) -> Iterator[None]:
        """Complete every pending interaction during the block, some of them twice."""

        def answer_all(part: int) -> None:
            while not self._stop_answering.is_set():
                for interaction in client.pending():
                    request = interaction["request"]
                    if request["number"] % RESPONDERS == part or request["number"] % 7 == 0:
                        client.answer(interaction["interactionId"], self.jobs[request["number"]].answer(request))
                self._stop_answering.wait(0.2)

        with ThreadPoolExecutor(RESPONDERS) as pool:
            answering = [pool.submit(answer_all, part) for part in range(RESPONDERS)]
            try:
                yield
            finally:
                self._stop_answering.set()
            for each in answering:
                each.result()

    def _wait_for_the_end(self) -> None:
        """Wait until all executions have ended, or for the timeout. The verdict reports unfinished executions."""

        def enough_strikes() -> bool:
            live = self._live()
            few = live is not None and live <= len(self.all) * UNFINISHED_SHARE
            return not self.chaos.is_alive() or (self.chaos.kills >= len(self.all) // 5 and few)

        def all_ended() -> bool:
            self.chaos.restart_ended()  # hostile steps still end their workers
            return self._live() == 0

        _wait(enough_strikes)
        self.chaos.stop()
        _wait(all_ended)

    def _live(self) -> int | None:
        """Return the number of executions that have not ended, or None if the database is unavailable."""
        try:
            return self.cluster.live_executions()
        except psycopg.OperationalError:
            return None

    def _repeat_all(self, client: RetryingClient) -> list[str]:
        """Submit every job again. Return a line for each response that does not name the first execution."""
        by_key = {promise.key: promise for promise in self.promises}

        def repeat(job: Job | HostileJob) -> str | None:
            status, response = client.submit(job.pipeline, job.input(str(self.runs)), job.key)
            found, first = (status, response["executionId"], pin_of(response)), by_key[job.key]
            if found == (200, first.execution_id, first.pin):
                return None
            return f"{job.key}: the repeated submission got {found}"

        with ThreadPoolExecutor(SUBMITTERS) as pool:
            return [fault for fault in pool.map(repeat, self.all) if fault is not None]


def _count(found: list[History], kind: str) -> int:
    return sum(each.count(kind) for each in found)


def _wait(probe: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not probe() and time.monotonic() < deadline:
        time.sleep(0.2)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make recovery", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--executions", type=int, default=500)
    arguments = parser.parse_args()
    print(f"Seed {arguments.seed}: {arguments.executions} executions", flush=True)
    with tempfile.TemporaryDirectory(prefix="coordinator-recovery-") as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.set_up()
            wrong = Campaign(cluster, Path(folder), arguments.seed, arguments.executions).run()
        finally:
            cluster.tear_down()
    print("\n".join([f"{len(wrong)} FAULTS", *wrong]) if wrong else "no execution was lost, and nothing happened twice")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
