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
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import psycopg

import tests.standalone  # noqa: F401 - this module is also a program
from executions.models.states import TERMINAL
from tests.building import build
from tests.hostile.expected import PIPELINE as HOSTILE_SOURCE
from tests.parts.recovery import hostile
from tests.parts.recovery.chaos import Chaos
from tests.parts.recovery.cluster import LEASE_SECONDS, Cluster
from tests.parts.recovery.history import History, histories
from tests.parts.recovery.hostile import HostileJob, hostile_jobs
from tests.parts.recovery.report import Report
from tests.parts.recovery.retrying_client import RetryingClient
from tests.parts.recovery.verdict import Promise, Run, faults
from tests.parts.recovery.workload import PIPELINE, Job, jobs

PIPELINES = Path(__file__).parent / "pipelines"
WORKERS = [(version, f"worker-{version}-{letter}") for version in ("v1", "v2", hostile.VERSION) for letter in "ab"]
HOSTILE_SHARE = 0.2
"""The share of executions that run the hostile pipeline."""
SUBMITTERS = 4
RESPONDERS = 2


@dataclass(frozen=True)
class Plan:
    """The limits of one campaign.

    The strikes end after at least `kills` kills, once at most `unfinished_share` of the executions have not ended.
    `pause` is the shortest and longest time between strikes. `timeout` limits the time with strikes, and also the time
    after them. Both are in seconds.
    """

    seed: int
    executions: int
    kills: int
    unfinished_share: float = 0.25
    pause: tuple[float, float] = (0.2, 0.7)
    timeout: float = 600.0


class Campaign:
    """One campaign in a running cluster. Members that the campaign adds are removed at the end."""

    def __init__(self, plan: Plan, cluster: Cluster, folder: Path) -> None:
        self.plan = plan
        self.cluster = cluster
        self.runs = folder / "runs"
        self.promises: list[Promise] = []
        rng = Random(plan.seed)
        hostile_count = round(plan.executions * HOSTILE_SHARE)
        self.jobs = jobs(rng, plan.executions - hostile_count)
        self.all: list[Job | HostileJob] = [*self.jobs, *hostile_jobs(rng, hostile_count)]
        rng.shuffle(self.all)
        self.chaos = Chaos(
            self.cluster, rng, pause=plan.pause, lease_seconds=LEASE_SECONDS, expected_statuses=hostile.STATUSES
        )
        self._folder = folder
        self._stop_answering = threading.Event()

    def run(self) -> Report:
        """Run all executions under strikes, then check them. Raises `ChildError`, `Refused` or `AssertionError`."""
        with self._releases_hosted():
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
            return self._judge(client, seconds, self._repeat_all(client))

    @contextmanager
    def _releases_hosted(self) -> Iterator[None]:
        """Register and host all releases for the block. Activate v1 before the first strike."""
        versions = ("v1", "v2")
        releases = {each: build("chaotic:pipeline", PIPELINES / each, self._folder / each, each) for each in versions}
        releases[hostile.VERSION] = build(
            "hostile:pipeline", HOSTILE_SOURCE, self._folder / hostile.VERSION, hostile.VERSION
        )
        try:
            self.cluster.add_control_worker("control-2")
            for version, name in WORKERS:
                self.cluster.host(name, releases[version], concurrency=4)
            for release in releases.values():
                self.cluster.publish(release)
            for _, name in WORKERS:
                self.cluster.client().wait_for_worker(name)
            self.cluster.client().activate(PIPELINE, "v1", "")
            self.cluster.client().activate(hostile.PIPELINE, hostile.VERSION, "")
            yield
        finally:
            for name in ("control-2", *(name for _, name in WORKERS)):
                self.cluster.remove(name)

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
        errors: list[BaseException] = []

        def answer_all(part: int) -> None:
            try:
                while not self._stop_answering.is_set():
                    for interaction in client.pending():
                        request = interaction["request"]
                        if request["number"] % RESPONDERS == part or request["number"] % 7 == 0:
                            client.answer(interaction["interactionId"], self.jobs[request["number"]].answer(request))
                    self._stop_answering.wait(0.2)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=answer_all, args=(part,), daemon=True) for part in range(RESPONDERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop_answering.set()
            for thread in threads:
                thread.join()
        if errors:
            raise errors[0]

    def _wait_for_the_end(self) -> None:
        """Wait until all executions have ended, or for the timeout. The verdict reports unfinished executions."""
        limit = len(self.all) * self.plan.unfinished_share

        def enough_strikes() -> bool:
            live = self._live()
            return not self.chaos.is_alive() or (
                self.chaos.kills >= self.plan.kills and live is not None and live <= limit
            )

        _wait(enough_strikes, self.plan.timeout)
        self.chaos.stop()

        def all_ended() -> bool:
            self.chaos.restart_ended()  # hostile steps still end their workers
            return self._live() == 0

        _wait(all_ended, self.plan.timeout)

    def _live(self) -> int | None:
        """Return the number of executions that have not ended, or None if the database is unavailable."""
        query = "SELECT count(*) FROM executions_execution WHERE status <> ALL(%s)"
        try:
            with self.cluster.connect() as connection:
                [count] = connection.execute(query, [[state.value for state in TERMINAL]]).fetchone() or [None]
        except psycopg.OperationalError:
            return None
        return count

    def _repeat_all(self, client: RetryingClient) -> list[str]:
        """Submit every job again. Return a line for each response that does not name the first execution."""
        by_key = {promise.key: promise for promise in self.promises}

        def repeat(job: Job | HostileJob) -> str | None:
            status, response = client.submit(job.pipeline, job.input(str(self.runs)), job.key)
            first = by_key[job.key]
            same = (status, response["executionId"], pin_of(response)) == (200, first.execution_id, first.pin)
            if same:
                return None
            return f"{job.key}: the repeated submission got {status} {response['executionId']} {pin_of(response)}"

        with ThreadPoolExecutor(SUBMITTERS) as pool:
            return [fault for fault in pool.map(repeat, self.all) if fault is not None]

    def _judge(self, client: RetryingClient, seconds: float, repetition_faults: list[str]) -> Report:
        with self.cluster.connect() as connection:
            hostile_histories = histories(connection, pipeline_id=hostile.PIPELINE)
            found = histories(connection, pipeline_id=PIPELINE)
        # Other tests run other releases of the hostile pipeline.
        found += [each for each in hostile_histories if each.pin[2] == hostile.VERSION]
        found_faults = faults(self.promises, found, self._runs(), self._needed(found))
        if len(self.promises) != len(self.all):
            found_faults.append(f"{len(self.all)} were submitted, but {len(self.promises)} were accepted")
        return Report(
            seed=self.plan.seed,
            seconds=seconds,
            histories=found,
            runs=sum(len(runs) for runs in self._runs().values()),
            needed_runs=sum(len(steps) for steps in self._needed(found).values()),
            strikes=self.chaos.strikes,
            failed_requests=client.failed_requests,
            faults=[*found_faults, *repetition_faults, *self.chaos.unexpected_ends],
        )

    def _runs(self) -> dict[str, list[Run]]:
        runs: dict[str, list[Run]] = defaultdict(list)
        for line in self.runs.read_text().splitlines():
            execution_id, step, version, attempt = line.split()
            runs[execution_id].append(Run(execution_id, step, version, int(attempt)))
        return runs

    def _needed(self, found: list[History]) -> dict[str, list[tuple[str, int]]]:
        versions = {each.key: each.pin[2] for each in found}
        return {job.key: list(job.steps(versions[job.key])) if job.key in versions else [] for job in self.all}


def pin_of(response: dict[str, Any]) -> tuple[str, str, str]:
    pin = response["pin"]
    return pin["pipelineId"], pin["contractVersion"], pin["releaseVersion"]


def _wait(probe: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
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
            plan = Plan(arguments.seed, arguments.executions, kills=arguments.executions // 5)
            report = Campaign(plan, cluster, Path(folder)).run()
        finally:
            cluster.tear_down()
    print(report)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
