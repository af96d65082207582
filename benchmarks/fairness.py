"""The latency of single executions of one pipeline, without and with a long backlog of another pipeline."""

import random
import time
from statistics import median

from benchmarks import load
from benchmarks.latency import Submitter
from benchmarks.plan import Plan
from benchmarks.product_under_test import ProductUnderTest
from benchmarks.report import Measure, Report
from benchmarks.running_product import RESULT, THREE_CHECKPOINTED, THREE_STEPS, SubmissionMode
from benchmarks.throughput import BATCH

SAMPLES = 60
BACKLOG = 60_000
_FINISHED = """
SELECT id::text, extract(epoch FROM finished_at)::float8 FROM executions_execution WHERE id = ANY(%s::uuid[])
"""
_UNFINISHED = "SELECT count(*) FROM executions_execution WHERE pipeline_id = %s AND finished_at IS NULL"


class SingleExecutions:
    """Single executions of a pipeline that has a separate worker."""

    def __init__(self, product: ProductUnderTest) -> None:
        self._product = product
        self._submitter = Submitter(product)
        self._pauses = random.Random(1)  # noqa: S311 - not a secret

    def latencies(self) -> list[float]:
        """Return the sorted milliseconds from each submission to its finish time in the database."""
        task, prefix = self._product.task(THREE_STEPS, SAMPLES, SubmissionMode(1))
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
    """Measure 9. It has no target, since the backlog uses the cores. It must not delay the turn of the others."""
    alone: dict[str, list[float]] = {"p50": [], "p95": []}
    with_backlog: dict[str, list[float]] = {"p50": [], "p95": []}
    with ProductUnderTest() as product:
        report.say("The product is up")
        product.host(THREE_STEPS)
        product.host(THREE_CHECKPOINTED)
        single = SingleExecutions(product)
        single.latencies()  # the first run only warms up
        for _ in range(plan.rounds):
            _add(alone, single.latencies())
            backlog, prefix = product.task(THREE_CHECKPOINTED, BACKLOG, BATCH)
            accepted = load.submit(backlog).accepted
            _add(with_backlog, single.latencies())
            row = product.ledger.connection.execute(_UNFINISHED, [product.pipeline_id(THREE_CHECKPOINTED)]).fetchone()
            unfinished = row[0] if row else 0
            report.say(f"{unfinished:,} of {accepted:,} executions of the backlog were unfinished at the end")
            if not unfinished:
                raise RuntimeError("The backlog was finished too early. It is too small for this machine.")
            product.ledger.wait_until_idle(product.pipeline_id(THREE_CHECKPOINTED))
            product.ledger.require_all_done(product.pipeline_id(THREE_CHECKPOINTED), prefix, accepted, RESULT)
    for name, taken in with_backlog.items():
        report.add(
            Measure(f"single executions with a backlog, {name} : without", taken, alone[name], "ms", None, "at most")
        )


def _add(percentiles: dict[str, list[float]], latencies: list[float]) -> None:
    percentiles["p50"].append(median(latencies))
    percentiles["p95"].append(latencies[len(latencies) * 95 // 100])
