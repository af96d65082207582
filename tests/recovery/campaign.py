"""The campaign: hundreds of executions while processes die at random, and a verdict on what became of them.

    python -m tests.recovery.campaign --seed 7 --executions 500

The seed decides what is submitted and what is struck in which order; which process is where when a strike lands is
the machine's chance. Exits with 1 where anything was lost or happened twice.
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

from executions.models.states import TERMINAL
from tests.building import build
from tests.hostile.expected import PIPELINE as HOSTILE_SOURCE
from tests.recovery import hostile
from tests.recovery.chaos import Chaos
from tests.recovery.cluster import LEASE_SECONDS, Cluster
from tests.recovery.history import History, histories
from tests.recovery.hostile import HostileJob, hostile_jobs
from tests.recovery.patience import PatientClient
from tests.recovery.report import Report
from tests.recovery.verdict import Promise, Run, faults
from tests.recovery.workload import PIPELINE, Job, jobs

PIPELINES = Path(__file__).parent / "pipelines"
WORKERS = [(version, f"worker-{version}-{letter}") for version in ("v1", "v2", hostile.VERSION) for letter in "ab"]
HOSTILE_PART = 0.2
"""How many of the executions run the hostile pipeline."""
SUBMITTERS = 4
ANSWERERS = 2


@dataclass(frozen=True)
class Plan:
    """The chaos ends after so many `kills`, once no more than the part `calm` of the executions is left to do.

    `pause` is the time between strikes; `patience` bounds the chaos, and the calm after it. All in seconds.
    """

    seed: int
    executions: int
    kills: int
    calm: float = 0.25
    pause: tuple[float, float] = (0.2, 0.7)
    patience: float = 600.0


class Campaign:
    """One campaign in a cluster that is set up; its members that the campaign adds are dismissed at the end."""

    def __init__(self, plan: Plan, cluster: Cluster, folder: Path) -> None:
        self.plan = plan
        self.cluster = cluster
        self.runs = folder / "runs"
        self.promises: list[Promise] = []
        rng = Random(plan.seed)
        odd = round(plan.executions * HOSTILE_PART)
        self.jobs = jobs(rng, plan.executions - odd)
        self.all: list[Job | HostileJob] = [*self.jobs, *hostile_jobs(rng, odd)]
        rng.shuffle(self.all)
        self.chaos = Chaos(self.cluster, rng, pause=plan.pause, lease_seconds=LEASE_SECONDS, expected=hostile.STATUSES)
        self._folder = folder
        self._answered = threading.Event()

    def run(self) -> Report:
        """Rage, calm down, judge. Raises `ChildError`, `Refused` or `AssertionError` where it cannot end."""
        with self._staffed():
            client = PatientClient(self.cluster)
            began = time.monotonic()
            self.chaos.start()
            try:
                with self._answering(client):
                    self._submit_all(client)
                    self._wait_for_the_end()
            finally:
                self.chaos.stop()
            seconds = time.monotonic() - began
            return self._judge(client, seconds, self._repeat_all(client))

    @contextmanager
    def _staffed(self) -> Iterator[None]:
        """Within the block all releases are registered and hosted; v1 is active before anything is struck."""
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
                self.cluster.dismiss(name)

    def _submit_all(self, client: PatientClient) -> None:
        """Submit every job, and activate v2 when half of them are accepted."""
        half = len(self.all) // 2
        with ThreadPoolExecutor(SUBMITTERS) as pool:
            self.promises += pool.map(lambda job: self._submit(client, job), self.all[:half])
            activation = pool.submit(client.activate, PIPELINE, "v2")
            self.promises += pool.map(lambda job: self._submit(client, job), self.all[half:])
            activation.result()

    def _submit(self, client: PatientClient, job: Job | HostileJob) -> Promise:
        _, answer = client.submit(job.pipeline, job.input(str(self.runs)), job.key)
        return job.promise(answer["executionId"], pin_of(answer), str(self.runs))

    @contextmanager
    def _answering(self, client: PatientClient) -> Iterator[None]:
        """Within the block, answer every pending interaction, and some of them twice."""
        errors: list[BaseException] = []

        def answer_all(odd: int) -> None:
            try:
                while not self._answered.is_set():
                    for interaction in client.pending():
                        request = interaction["request"]
                        if request["number"] % ANSWERERS == odd or request["number"] % 7 == 0:
                            client.answer(interaction["interactionId"], self.jobs[request["number"]].answer(request))
                    self._answered.wait(0.2)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=answer_all, args=(odd,), daemon=True) for odd in range(ANSWERERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._answered.set()
            for thread in threads:
                thread.join()
        if errors:
            raise errors[0]

    def _wait_for_the_end(self) -> None:
        """Until all have ended or patience has; what is unfinished then is for the verdict to tell."""
        most = len(self.all) * self.plan.calm

        def enough() -> bool:
            live = self._live()
            return not self.chaos.is_alive() or (
                self.chaos.kills >= self.plan.kills and live is not None and live <= most
            )

        _wait(enough, self.plan.patience)
        self.chaos.stop()

        def over() -> bool:
            self.chaos.mourn()  # hostile steps still end their workers
            return self._live() == 0

        _wait(over, self.plan.patience)

    def _live(self) -> int | None:
        """How many executions have not ended; None while the database cannot tell."""
        query = "SELECT count(*) FROM executions_execution WHERE status <> ALL(%s)"
        try:
            with self.cluster.connect() as connection:
                [count] = connection.execute(query, [[state.value for state in TERMINAL]]).fetchone() or [None]
        except psycopg.OperationalError:
            return None
        return count

    def _repeat_all(self, client: PatientClient) -> list[str]:
        """Submit every job again. Each answer must name the first execution. Return a line for each that does not."""
        by_key = {promise.key: promise for promise in self.promises}

        def repeat(job: Job | HostileJob) -> str | None:
            status, answer = client.submit(job.pipeline, job.input(str(self.runs)), job.key)
            first = by_key[job.key]
            same = (status, answer["executionId"], pin_of(answer)) == (200, first.execution_id, first.pin)
            return None if same else f"{job.key}: repeated, it was {status} {answer['executionId']} {pin_of(answer)}"

        with ThreadPoolExecutor(SUBMITTERS) as pool:
            return [fault for fault in pool.map(repeat, self.all) if fault is not None]

    def _judge(self, client: PatientClient, seconds: float, again: list[str]) -> Report:
        with self.cluster.connect() as connection:
            odd = histories(connection, pipeline_id=hostile.PIPELINE)
            found = histories(connection, pipeline_id=PIPELINE)
        found += [one for one in odd if one.pin[2] == hostile.VERSION]  # other tests use other releases
        wrong = faults(self.promises, found, self._runs(), self._needed(found))
        if len(self.promises) != len(self.all):
            wrong.append(f"{len(self.all)} were submitted and {len(self.promises)} accepted")
        return Report(
            seed=self.plan.seed,
            seconds=seconds,
            histories=found,
            runs=sum(len(runs) for runs in self._runs().values()),
            needed_runs=sum(len(steps) for steps in self._needed(found).values()),
            strikes=self.chaos.strikes,
            unanswered=client.unanswered,
            faults=[*wrong, *again, *self.chaos.fallen],
        )

    def _runs(self) -> dict[str, list[Run]]:
        runs: dict[str, list[Run]] = defaultdict(list)
        for line in self.runs.read_text().splitlines():
            execution_id, step, version, attempt = line.split()
            runs[execution_id].append(Run(execution_id, step, version, int(attempt)))
        return runs

    def _needed(self, found: list[History]) -> dict[str, list[tuple[str, int]]]:
        versions = {one.key: one.pin[2] for one in found}
        return {job.key: list(job.steps(versions[job.key])) if job.key in versions else [] for job in self.all}


def pin_of(answer: dict[str, Any]) -> tuple[str, str, str]:
    pin = answer["pin"]
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
