"""The cost of millions of finished executions for later ones."""

import json
import subprocess
import sys
from collections.abc import Callable
from statistics import median

from benchmarks import past
from benchmarks.latency import Submitter
from benchmarks.ledger import LedgerError
from benchmarks.plan import Plan
from benchmarks.processes import frozen
from benchmarks.product_under_test import ProductUnderTest
from benchmarks.report import Measure, Report
from benchmarks.running_product import RESULT, THREE_STEPS, SubmissionMode
from embedded.product import PROJECT

FEW = 1_000
DUE = 200
CLAIM = 50
SAMPLES = 100
MOST = 1.2
LISTS = {
    "list, newest first": "executions?pageSize=50",
    "list of succeeded executions": "executions?pageSize=50&status=SUCCEEDED",
    "list of failed executions, which is empty": "executions?pageSize=50&status=FAILED",
    "one by its idempotency key": "executions?idempotencyKey=past-500",
    "pending interactions": "interactions?pageSize=50",
    "stranded": "stranded",
}


class Grown:
    """Measures a product that has many finished executions."""

    def __init__(self, product: ProductUnderTest) -> None:
        self.product = product
        self._submitter = Submitter(product)
        self.found: dict[str, list[float]] = {}

    def measure(self) -> None:
        """Measure everything once. Append the medians in milliseconds to `found`."""
        self._submitter.reconnect()
        for name, query in LISTS.items():
            self._keep(name, self._submitter.timed_list(query, SAMPLES))
        with frozen([self.product.trees()["control-worker"]]):
            self._submissions_and_claims()
        self.product.ledger.wait_until_idle(self.product.pipeline_id(THREE_STEPS))
        self.product.ledger.require_all_done(self.product.pipeline_id(THREE_STEPS), self._prefix, DUE, RESULT)

    def _submissions_and_claims(self) -> None:
        task, self._prefix = self.product.task(THREE_STEPS, DUE, SubmissionMode(1))
        self._keep("submit", self._submitter.timed_submissions(task.item, DUE))
        for name, seconds in self._probe().items():
            self._keep(name, seconds)

    def _probe(self) -> dict[str, list[float]]:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.probe", str(SAMPLES), str(CLAIM)],
            cwd=PROJECT,
            env={**self.product.product.environment, "DJANGO_SETTINGS_MODULE": "coordinator.settings"},
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise LedgerError(f"The probe failed:\n{done.stderr}")
        output = json.loads(done.stdout)
        if (least := output.pop("least")) < CLAIM:
            raise LedgerError(f"A claim returned {least} of {CLAIM} executions, so the measurement is invalid.")
        return {str(name): list(seconds) for name, seconds in output.items()}

    def _keep(self, name: str, seconds: list[float]) -> None:
        self.found.setdefault(name, []).append(median(seconds) * 1e3)


def growth(report: Report, plan: Plan) -> None:
    """Measure 7: two products, one with few finished executions and one with many, measured in turn."""
    # Submitted executions must stay queued until the probe claims them.
    settings = {"WEB_DISPATCHES": "false"}
    with ProductUnderTest(**settings) as small, ProductUnderTest(**settings) as large:
        sides = {FEW: Grown(small), plan.rows: Grown(large)}
        for rows, side in sides.items():
            side.product.host(THREE_STEPS)
            past.finished_template(side.product)
            past.load(side.product, rows, _progress(report, rows))
            side.product.round(THREE_STEPS, DUE, SubmissionMode(8))
        for number in range(plan.rounds + 1):
            for rows, side in sides.items():
                side.measure()
                if number == 0:
                    side.found.clear()  # the first round only warms up the caches
                else:
                    medians = ", ".join(f"{name} {taken[-1]:.2f} ms" for name, taken in side.found.items())
                    report.say(f"{rows:,} finished: {medians}")
        few, many = (side.found for side in sides.values())
        for name, taken in many.items():
            report.add(
                Measure(f"{name}, p50: {plan.rows:,} finished : {FEW:,}", taken, few[name], "ms", MOST, "at most")
            )


def _progress(report: Report, rows: int) -> Callable[[str], None]:
    def say(text: str) -> None:
        if rows > FEW:
            report.say(text)

    return say
