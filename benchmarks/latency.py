"""The time from submission to committed result on an idle system, with four ways to detect the commit."""

import http.client
import json
import random
import time
from statistics import median

from benchmarks.celery_peer import CeleryPeer
from benchmarks.plan import Plan
from benchmarks.product_under_test import ProductUnderTest
from benchmarks.report import Measure, Report
from benchmarks.running_product import RESULT, TENANT, THREE_STEPS, RunningProduct, SubmissionMode

SAMPLES = 200
TIMEOUT_SECONDS = 12.0
_FINISHED = """
SELECT extract(epoch FROM finished_at)::float8 FROM executions_execution WHERE id = %s AND status = 'SUCCEEDED'
"""


class Submitter:
    """One keep-alive connection to the REST API."""

    def __init__(self, product: RunningProduct) -> None:
        self._product = product
        self._http = http.client.HTTPConnection("127.0.0.1", product.port)
        self._headers = {"Authorization": f"Bearer {product.tokens[TENANT]}", "Content-Type": "application/json"}
        self._path = f"/api/v1/tenants/{TENANT}/executions"

    def submit(self, task_item: str, number: int) -> str:
        """Submit and return the id of the new execution."""
        body = task_item.replace("{key}", f"{number:09}")
        return str(self._call("POST", self._path, 202, body)["executionId"])

    def status(self, execution_id: str) -> str:
        return str(self._call("GET", f"{self._path}/{execution_id}", 200)["status"])

    def wait(self, execution_id: str) -> str:
        """Return the status at the end of the execution."""
        return str(self._call("GET", f"{self._path}/{execution_id}?wait=20", 200)["status"])

    def reconnect(self) -> None:
        """Reconnect before a series of requests, because the server closes idle connections."""
        self._http.close()

    def _call(self, method: str, path: str, expected: int, body: str | None = None) -> dict[str, object]:
        self._http.request(method, path, body, self._headers)
        response = self._http.getresponse()
        text = response.read()
        if response.status != expected:
            raise RuntimeError(
                f"{method} {path} responded with {response.status}: {text[:500].decode(errors='replace')}"
            )
        answer: dict[str, object] = json.loads(text)
        return answer


class IdleLatency:
    """Measures single executions, each submitted after the previous one has ended."""

    def __init__(self, product: RunningProduct) -> None:
        self._product = product
        self._submitter = Submitter(product)
        self._pauses = random.Random(1)  # noqa: S311 - not a secret

    def latencies(self, detection: str, samples: int = SAMPLES) -> list[float]:
        """Return the seconds of each execution.

        `detection` is how the end is detected: `finish` (the database's clock), `session` (polling by a second session)
        `client` (polling by the client with GET) or `wait` (a GET that waits for the end).
        """
        task, prefix = self._product.task(THREE_STEPS, samples, SubmissionMode(1))
        self._submitter.reconnect()
        detections = {"finish": self._finish, "session": self._session, "client": self._client, "wait": self._wait}
        wait_for_end = detections[detection]
        seconds: list[float] = []
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while len(seconds) < samples and time.monotonic() < deadline:
            time.sleep(self._pauses.uniform(0.005, 0.025))  # avoids synchronization with periodic work
            sent = time.time()
            execution_id = self._submitter.submit(task.item, len(seconds))
            seconds.append(wait_for_end(execution_id) - sent)
        self._product.ledger.require_all_done(self._product.pipeline_id(THREE_STEPS), prefix, len(seconds), RESULT)
        return seconds

    def _finish(self, execution_id: str) -> float:
        """Return the finish time of the database. Poll rarely, so that polling does not disturb the system."""
        while (at := self._row(execution_id)) is None:
            time.sleep(0.02)
        return at

    def _session(self, execution_id: str) -> float:
        while self._row(execution_id) is None:
            time.sleep(0.0002)
        return time.time()

    def _client(self, execution_id: str) -> float:
        while self._submitter.status(execution_id) != "SUCCEEDED":
            time.sleep(0.001)
        return time.time()

    def _wait(self, execution_id: str) -> float:
        while self._submitter.wait(execution_id) != "SUCCEEDED":
            pass
        return time.time()

    def _row(self, execution_id: str) -> float | None:
        row = self._product.ledger.connection.execute(_FINISHED, [execution_id]).fetchone()
        return None if row is None else float(row[0])


DETECTIONS = {
    "finish": "finish in the database",
    "session": "commit visible to another session",
    "client": "status visible to the client by GET",
    "wait": "the answer to a wait of the client",
}


def idle_latency(report: Report, plan: Plan) -> None:
    """Measure 6. The target applies to the finish time of the database. The others are only reported."""
    ours: dict[str, list[float]] = {detection: [] for detection in DETECTIONS}
    theirs: list[float] = []
    with ProductUnderTest() as product:
        report.say("The product is up")
        product.host(THREE_STEPS)
        latency = IdleLatency(product)
        latency.latencies("finish")  # the first run only warms up
        celery = CeleryPeer(product) if plan.peers else None
        for _ in range(plan.rounds):
            for detection, seconds in ours.items():
                seconds.append(_p50(report, DETECTIONS[detection], latency.latencies(detection)))
            if celery is not None:
                theirs.append(_p50(report, "Celery round trip", celery.round_trips(SAMPLES)))
    for detection, seconds in ours.items():
        name = f"idle, submit to {DETECTIONS[detection]}, p50 : Celery round trip"
        report.add(Measure(name, seconds, theirs, "ms", 2.5 if detection == "finish" else None, "at most"))


def _p50(report: Report, name: str, taken: list[float]) -> float:
    """Report the percentiles and return the median in milliseconds."""
    ordered = sorted(taken)
    middle, slow = median(ordered) * 1e3, ordered[len(ordered) * 95 // 100] * 1e3
    report.say(f"idle, {name}: p50 [b]{middle:.2f} ms[/], p95 {slow:.2f} ms, {len(ordered)} samples")
    return middle
