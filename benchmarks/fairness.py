"""What a hog costs a trickle: single executions of one pipeline, without and with a long backlog of another."""

import random
import time
from statistics import median

from benchmarks import load
from benchmarks.latency import Submitter
from benchmarks.plan import Plan
from benchmarks.product_under_test import RESULT, THREE_CHECKPOINTED, THREE_STEPS, How, ProductUnderTest
from benchmarks.report import Measure, Report
from benchmarks.throughput import BATCH

SAMPLES = 60
HOG = 60_000
_FINISHED = """
SELECT id::text, extract(epoch FROM finished_at)::float8 FROM executions_execution WHERE id = ANY(%s::uuid[])
"""
_LEFT = "SELECT count(*) FROM executions_execution WHERE pipeline_id = %s AND finished_at IS NULL"


class Trickle:
    """A pipeline with a worker of its own, to which one execution is submitted now and then."""

    def __init__(self, product: ProductUnderTest) -> None:
        self._product = product
        self._submitter = Submitter(product)
        self._pauses = random.Random(1)  # noqa: S311 - not a secret

    def measured(self) -> list[float]:
        """Milliseconds from each submission to its finish in the database."""
        task, prefix = self._product.task(THREE_STEPS, SAMPLES, How(1))
        self._submitter.reconnect()
        sent: dict[str, float] = {}
        for number in range(SAMPLES):
            time.sleep(self._pauses.uniform(0.02, 0.06))
            at = time.time()
            sent[self._submitter.submit(task.item, number)] = at
        self._product.ledger.wait_until_idle(self._product.pipeline_id(THREE_STEPS))
        self._product.ledger.require_all_done(self._product.pipeline_id(THREE_STEPS), prefix, SAMPLES, RESULT)
        finished = self._product.ledger.connection.execute(_FINISHED, [list(sent)]).fetchall()
        return sorted((float(end) - sent[execution_id]) * 1e3 for execution_id, end in finished)


def fairness(report: Report, plan: Plan) -> None:
    """Measure 9. Without a bar: the hog takes the cores that the trickle would have; it must not take its turn."""
    alone: dict[str, list[float]] = {"p50": [], "p95": []}
    beside: dict[str, list[float]] = {"p50": [], "p95": []}
    with ProductUnderTest() as product:
        report.say("The product is up")
        product.host(THREE_STEPS)
        product.host(THREE_CHECKPOINTED)
        trickle = Trickle(product)
        trickle.measured()  # warms everything up
        for _ in range(plan.rounds):
            _keep(alone, trickle.measured())
            hog, prefix = product.task(THREE_CHECKPOINTED, HOG, BATCH)
            accepted = load.submit(hog).accepted
            _keep(beside, trickle.measured())
            row = product.ledger.connection.execute(_LEFT, [product.pipeline_id(THREE_CHECKPOINTED)]).fetchone()
            left = row[0] if row else 0
            report.say(f"Of {accepted:,} of the hog {left:,} were left when the trickle was done")
            if not left:
                raise RuntimeError("The hog was done before the trickle: it is too small for this machine.")
            product.ledger.wait_until_idle(product.pipeline_id(THREE_CHECKPOINTED))
            product.ledger.require_all_done(product.pipeline_id(THREE_CHECKPOINTED), prefix, accepted, RESULT)
    for name, taken in beside.items():
        report.add(Measure(f"trickle beside a hog, {name} : alone", taken, alone[name], "ms", None, "at most"))


def _keep(kept: dict[str, list[float]], taken: list[float]) -> None:
    kept["p50"].append(median(taken))
    kept["p95"].append(taken[len(taken) * 95 // 100])
