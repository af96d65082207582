"""Batches whose items are not admitted from the cache, compared with batches whose items are."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import requests

from benchmarks.plan import Plan
from benchmarks.processes import frozen
from benchmarks.product_under_test import ProductUnderTest
from benchmarks.report import Measure, Report
from benchmarks.running_product import INPUT, TENANT, THREE_STEPS

ITEMS = 1000
FAST = "accepted from the cache"
Items = list[dict[str, Any]]


class Batches:
    """Sends batches of ITEMS items one after the other. All workers are frozen meanwhile."""

    def __init__(self, product: ProductUnderTest) -> None:
        self._product = product
        self._url = f"{product.product.url}/api/v1/tenants/{TENANT}/executions:batch"
        self._http = requests.Session()
        self._http.headers["Authorization"] = f"Bearer {product.token}"
        self._numbers = itertools.count()

    def items(self, **members: Any) -> Items:
        """Return new items with unique keys."""
        item = {"pipelineId": self._product.pipeline_id(THREE_STEPS), "input": INPUT}
        return [{**item, "idempotencyKey": f"v{next(self._numbers)}", **members} for _ in range(ITEMS)]

    def rate(self, items: Items, status: int) -> float:
        """Send a batch and return its items per second. Raises `RuntimeError` unless every item has `status`."""
        with frozen(self._product.workers()):
            began = time.perf_counter()
            response = self._http.post(self._url, json={"items": items}, timeout=300)
            seconds = time.perf_counter() - began
        statuses = {verdict["status"] for verdict in response.json()["items"]}
        if statuses != {status}:
            raise RuntimeError(f"A batch got {sorted(statuses)}, not {status}.")
        return len(items) / seconds

    def repeated(self, **members: Any) -> Items:
        """Return items whose keys already have executions."""
        items = self.items()
        self.rate(items, 202)
        return [{**item, **members} for item in items]

    def just_activated(self) -> Items:
        """Return new items whose admission no process has cached."""
        self._product.client.activate(self._product.pipeline_id(THREE_STEPS), "1", "for the benchmark")
        return self.items()


def verdicts(report: Report, plan: Plan) -> None:
    """Measure 10. A batch takes at most three times as long as the fastest kind, for every response to its items."""
    with ProductUnderTest(WEB_DISPATCHES="false") as product:
        report.say("The product is up")
        product.host(THREE_STEPS)
        batches = Batches(product)
        kinds: dict[str, Callable[[], float]] = {
            FAST: lambda: batches.rate(batches.items(), 202),
            "accepted just after an activation": lambda: batches.rate(batches.just_activated(), 202),
            "repeated": lambda: batches.rate(batches.repeated(), 200),
            "rejected, other input": lambda: batches.rate(batches.repeated(input=INPUT + 1), 409),
            "rejected, other release": lambda: batches.rate(batches.items(expectedReleaseVersion="0"), 409),
            "rejected, unknown pipeline": lambda: batches.rate(batches.items(pipelineId="none"), 404),
            "rejected, malformed": lambda: batches.rate(batches.items(more=1), 400),
        }
        rates: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(plan.rounds + 1):
            for kind, measured in kinds.items():
                rates[kind].append(measured())
                report.say(f"{kind}: [b]{rates[kind][-1]:,.0f}/s[/], {ITEMS / rates[kind][-1]:.2f} s per batch")
    for kind, by_kind in rates.items():
        if kind != FAST:  # the first round only warms up
            report.add(Measure(f"batch, {kind} : {FAST}", by_kind[1:], rates[FAST][1:], "items/s", 1 / 3))
