import threading
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from tests.parts.recovery.cluster import RETRY_LIMIT
from tests.parts.recovery.verdict import Promise
from tests.parts.recovery.workload import PIPELINE, jobs, pin_of
from tests.parts.upgrade.front import Front

SUBMITTERS = 2
ANSWERERS = 2
PAUSE_SECONDS = 1.0
"""The pause of each submitter, long enough for a busy machine to keep up."""


class Load:
    """Submits executions and answers their questions until a call of `stop_submitting`."""

    def __init__(self, front: Front, runs: Path) -> None:
        self.front = front
        self.runs = str(runs)
        # Nobody re-drives, so each job succeeds within its retries.
        self.jobs = [replace(job, early=min(job.early, RETRY_LIMIT)) for job in jobs(Random(20), 3000)]
        self.promises: list[Promise] = []
        self.submitted_at: list[float] = []
        self._next = iter(self.jobs)
        self._lock = threading.Lock()
        self._full = threading.Event()
        self._over = threading.Event()
        self._submitters = [threading.Thread(target=self._submit, daemon=True) for _ in range(SUBMITTERS)]
        self._answerers = [threading.Thread(target=self._answer, args=(n,), daemon=True) for n in range(ANSWERERS)]

    def start(self) -> None:
        for thread in (*self._submitters, *self._answerers):
            thread.start()

    def stop_submitting(self) -> None:
        self._full.set()
        for thread in self._submitters:
            thread.join()

    def stop(self) -> None:
        self._full.set()
        self._over.set()
        for thread in (*self._submitters, *self._answerers):
            thread.join()

    def _submit(self) -> None:
        while not self._full.wait(PAUSE_SECONDS):
            with self._lock:
                job = next(self._next)
            body = {"pipelineId": PIPELINE, "input": job.input(self.runs), "idempotencyKey": job.key}
            accepted = self.front.call("POST", "executions", body)
            if accepted is not None:
                self.promises.append(job.promise(accepted["executionId"], pin_of(accepted), self.runs))
                self.submitted_at.append(time.monotonic())

    def _answer(self, part: int) -> None:
        """Answer every question whose job belongs to this part."""
        path = "interactions?status=pending&transport=interaction-api&pageSize=200"
        while not self._over.wait(0.2):
            for interaction in (self.front.call("GET", path) or {"items": []})["items"]:
                number = interaction["request"]["number"]
                if number % ANSWERERS == part and not self._over.is_set():
                    response = self.jobs[number].answer(interaction["request"])
                    body = {"interactionId": interaction["interactionId"], "response": response}
                    self.front.call("POST", "interactions/complete", body)

    def input(self, number: int) -> dict[str, Any]:
        return self.jobs[number].input(self.runs)

    def needed(self) -> dict[str, list[tuple[str, int]]]:
        accepted = {promise.key for promise in self.promises}
        return {job.key: list(job.steps("v1")) for job in self.jobs if job.key in accepted}
