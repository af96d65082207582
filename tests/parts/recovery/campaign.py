"""The campaign: runs hundreds of executions while processes are killed at random, and checks the results.

    python -m tests.parts.recovery.campaign --seed 7 --executions 500

The seed determines the submissions and the order of the strikes. What a process does at the time of a strike depends on
the machine. The exit status is 1 if an execution was lost, an effect happened twice, or another promise was broken.
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
from typing import Any

import psycopg

import tests.standalone  # noqa: F401 - this module is also a program
from tests.building import BuiltRelease, build
from tests.hostile.expected import PIPELINE as HOSTILE_SOURCE
from tests.parts.recovery import hostile
from tests.parts.recovery.chaos import Chaos
from tests.parts.recovery.faulty_cluster import FaultyCluster
from tests.parts.recovery.history import History, histories
from tests.parts.recovery.hostile import HostileJob, hostile_jobs
from tests.parts.recovery.operating import Operators
from tests.parts.recovery.retrying_client import Refused, RetryingClient
from tests.parts.recovery.verdict import Pinned, Promise, faults, misplaced
from tests.parts.recovery.workload import PIPELINE, Job, jobs, pin_of, runs_of

SOURCE = Path(__file__).parent / "pipelines/v1"
WORKERS = [(version, f"worker-{version}-{letter}") for version in ("v1", "v2", hostile.VERSION) for letter in "ab"]
HOSTILE_SHARE = 0.2
"""The share of executions that run the hostile pipeline."""
UNFINISHED_SHARE = 0.25
"""The strikes end after enough kills, once at most this share of the executions has not ended."""
LIVE = "SELECT FROM executions_execution WHERE finished_at IS NULL OR status = 'DLQ' AND pipeline_id = %s"
SUBMITTERS = 4
RESPONDERS = 2
TIMEOUT_SECONDS = 600.0
"""The limit of the time with strikes, and also of the time after them."""


class Campaign:
    def __init__(self, cluster: FaultyCluster, folder: Path, seed: int, executions: int) -> None:
        self.cluster = cluster
        self.runs = folder / "runs"
        self.promises: list[Promise] = []
        rng = Random(seed)
        hostile_count = round(executions * HOSTILE_SHARE)
        self.jobs = jobs(rng, executions - hostile_count)
        self.all: list[Job | HostileJob] = [*self.jobs, *hostile_jobs(rng, hostile_count)]
        rng.shuffle(self.all)
        self.chaos = Chaos(self.cluster, rng, expected_statuses=hostile.STATUSES)
        self.client = RetryingClient(cluster)
        self.operators = Operators(self.client, Random(seed), PIPELINE)
        self.pins: dict[str, Pinned] = {}
        self.switch: list[float] = []
        self._folder = folder
        self._stop_answering = threading.Event()

    def run(self) -> list[str]:
        """Run all executions under strikes, and check and describe them. Return one line for each fault."""
        self._host_releases()
        began = time.monotonic()
        self.chaos.start()
        self.operators.start()
        try:
            with self._interactions_answered():
                self._submit_all()
                self._wait_for_the_end()
        finally:
            self.chaos.stop()
            self.operators.stop()
        seconds = time.monotonic() - began
        repetitions = self._repeat_all()
        with self.cluster.connect() as connection:
            ended = [
                history for name in (PIPELINE, hostile.PIPELINE) for history in histories(connection, pipeline_id=name)
            ]
        runs, versions = runs_of(self.runs), {history.key: history.pin[2] for history in ended}
        needed = {job.key: list(job.steps(versions[job.key])) if job.key in versions else [] for job in self.all}
        wrong = faults(self.promises, ended, runs, needed)
        wrong += misplaced(self.pins, "v1", "v2", *self.switch)
        wrong += [
            f"{history.execution_id} ({history.key}): its cancellation was confirmed, but it is {history.status}"
            for history in ended
            if history.execution_id in self.operators.cancelled and history.status != "CANCELLED"
        ]
        wrong += self._damage()
        if errors := self.client.failed_requests["500"]:
            wrong.append(f"{errors} requests were answered with 500; a failure that passes is 503")
        if len(self.promises) != len(self.all):
            wrong.append(f"{len(self.all)} were submitted, but {len(self.promises)} were accepted")
        states = dict(Counter(history.status for history in ended))
        print(f"{len(ended)} executions in {seconds:.0f} s, by state {states}")
        print(f"strikes: {dict(self.chaos.strikes)}; requests repeated: {dict(self.client.failed_requests)}")
        print(f"operators: {dict(self.operators.acts)}")
        print(f"takeovers: {_count(ended, 'LEASE_EXPIRED')}; outcomes dropped: {_count(ended, 'OUTCOME_DROPPED')}")
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

    def _submit_all(self) -> None:
        """Submit half of the jobs before v2 gets a share of them, a quarter while it does, and the rest after it."""
        half, most = len(self.all) // 2, len(self.all) * 3 // 4
        with ThreadPoolExecutor(SUBMITTERS) as pool:
            self.promises += pool.map(self._submit, self.all[:half])
            self.switch.append(time.monotonic())
            activation = pool.submit(self.client.start_gradually, PIPELINE, "v2")
            self.promises += pool.map(self._submit, self.all[half:most])
            self.client.promote(PIPELINE, activation.result())
            self.switch.append(time.monotonic())
            self.promises += pool.map(self._submit, self.all[most:])

    def _submit(self, job: Job | HostileJob) -> Promise:
        requested_at = time.monotonic()
        _, accepted = self.client.submit(job.pipeline, job.input(str(self.runs)), job.key)
        pin = pin_of(accepted)
        if isinstance(job, Job):
            self.pins[job.key] = Pinned(requested_at, time.monotonic(), pin[2])
            if job.unwanted:
                self.operators.will_cancel(accepted["executionId"])
        return job.promise(accepted["executionId"], pin, str(self.runs))

    @contextmanager
    def _interactions_answered(self) -> Iterator[None]:
        """Complete every pending interaction during the block, some of them twice."""

        def answer_all(part: int) -> None:
            while not self._stop_answering.is_set():
                for interaction in self.client.pending():
                    request = interaction["request"]
                    if request["number"] % RESPONDERS == part or request["number"] % 7 == 0:
                        self._answer(self.jobs[request["number"]], interaction)
                self._stop_answering.wait(0.2)

        with ThreadPoolExecutor(RESPONDERS) as pool:
            answering = [pool.submit(answer_all, part) for part in range(RESPONDERS)]
            try:
                yield
            finally:
                self._stop_answering.set()
            for future in answering:
                future.result()

    def _answer(self, job: Job, interaction: dict[str, Any]) -> None:
        try:
            self.client.answer(interaction["questionId"], job.answer(interaction["request"]))
        except Refused:
            if not job.unwanted:
                raise

    def _wait_for_the_end(self) -> None:
        """Wait until all executions have ended, or for the timeout. The verdict reports unfinished executions."""

        def enough_strikes() -> bool:
            live = self._live()
            few = live is not None and live <= len(self.all) * UNFINISHED_SHARE
            enough = self.chaos.is_complete and self.chaos.kills >= len(self.all) // 5
            return not self.chaos.is_alive() or (enough and few)

        def all_ended() -> bool:
            self.chaos.restart_ended()  # hostile steps still end their workers
            return self._live() == 0

        _wait(enough_strikes)
        self.chaos.stop()
        _wait(all_ended)

    def _live(self) -> int | None:
        """Return how many executions have not ended or wait for a re-drive; None if the database is unavailable."""
        try:
            with self.cluster.connect() as connection:
                return connection.execute(LIVE, [PIPELINE]).rowcount
        except psycopg.OperationalError:
            return None

    def _damage(self) -> list[str]:
        with self.cluster.connect() as connection:
            rows = connection.execute("SELECT digest, state FROM releases_blob WHERE state <> 'SOUND'").fetchall()
        return [f"{digest} is {state}" for digest, state in rows]

    def _repeat_all(self) -> list[str]:
        """Submit every job again. Return a line for each response that does not name the first execution."""
        by_key = {promise.key: promise for promise in self.promises}

        def repeat(job: Job | HostileJob) -> str | None:
            status, response = self.client.submit(job.pipeline, job.input(str(self.runs)), job.key)
            repeated, first = (status, response["executionId"], pin_of(response)), by_key[job.key]
            if repeated == (200, first.execution_id, first.pin):
                return None
            return f"{job.key}: the repeated submission got {repeated}"

        with ThreadPoolExecutor(SUBMITTERS) as pool:
            return [fault for fault in pool.map(repeat, self.all) if fault is not None]


def _count(histories: list[History], kind: str) -> int:
    return sum(history.count(kind) for history in histories)


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
        cluster = FaultyCluster(Path(folder))
        try:
            cluster.set_up()
            wrong = Campaign(cluster, Path(folder), arguments.seed, arguments.executions).run()
        finally:
            cluster.tear_down()
    print("\n".join([f"{len(wrong)} FAULTS", *wrong]) if wrong else "no execution was lost, and nothing happened twice")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
