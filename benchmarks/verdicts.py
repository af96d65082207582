"""Batches whose items cannot be accepted from memory, against batches whose items can."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests

from benchmarks.plan import Plan
from benchmarks.product_under_test import INPUT, TENANT, THREE_STEPS, ProductUnderTest, pause, resume
from benchmarks.report import Measure, Report

ITEMS = 1000
FAST = "accepted from memory"
Items = list[dict[str, Any]]


class Batches:
    """Sends batches of ITEMS items one after the other. Everything but the web process stands still meanwhile."""

    def __init__(self, product: ProductUnderTest) -> None:
        self._product = product
        self._url = f"{product.product.url}/api/v1/tenants/{TENANT}/executions:batch"
        self._http = requests.Session()
        self._http.headers["Authorization"] = f"Bearer {product.token}"
        self._numbers = itertools.count()

    def items(self, **members: Any) -> Items:
        """New items, with a key each that no other has."""
        item = {"pipelineId": self._product.pipeline_id(THREE_STEPS), "input": INPUT}
        return [{**item, "idempotencyKey": f"v{next(self._numbers)}", **members} for _ in range(ITEMS)]

    def rate(self, items: Items, status: int) -> float:
        """Return how many items a second one batch processes. Every item must be answered with `status`."""
        with self._others_paused():
            began = time.perf_counter()
            answer = self._http.post(self._url, json={"items": items}, timeout=300)
            seconds = time.perf_counter() - began
        statuses = {verdict["status"] for verdict in answer.json()["items"]}
        if statuses != {status}:
            raise RuntimeError(f"A batch got {sorted(statuses)}, not {status}.")
        return len(items) / seconds

    def repeated(self, **members: Any) -> Items:
        """Items whose keys have executions already."""
        items = self.items()
        self.rate(items, 202)
        return [{**item, **members} for item in items]

    def just_activated(self) -> Items:
        """New items, and no process remembers the admission that they get."""
        self._product.client.activate(self._product.pipeline_id(THREE_STEPS), "1", "to be measured")
        return self.items()

    @contextmanager
    def _others_paused(self) -> Iterator[None]:
        others = [child for child in self._product.product.children.started if child.name not in {"web", "clock"}]
        for child in others:
            pause(child)
        try:
            yield
        finally:
            for child in others:
                resume(child)


def verdicts(report: Report, plan: Plan) -> None:
    """Measure 10. A batch takes at most three times as long as the fastest kind, for every outcome of its items."""
    with ProductUnderTest(WEB_DISPATCHES="false") as product:
        report.say("The product is up")
        product.host(THREE_STEPS)
        batches = Batches(product)
        kinds: dict[str, Callable[[], float]] = {
            FAST: lambda: batches.rate(batches.items(), 202),
            "accepted just after an activation": lambda: batches.rate(batches.just_activated(), 202),
            "repeated": lambda: batches.rate(batches.repeated(), 200),
            "refused, another input": lambda: batches.rate(batches.repeated(input=INPUT + 1), 409),
            "refused, another release": lambda: batches.rate(batches.items(expectedReleaseVersion="0"), 409),
            "refused, no such pipeline": lambda: batches.rate(batches.items(pipelineId="none"), 404),
            "refused, malformed": lambda: batches.rate(batches.items(more=1), 400),
        }
        rates: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(plan.rounds + 1):
            for kind, measured in kinds.items():
                rates[kind].append(measured())
                report.say(f"{kind}: [b]{rates[kind][-1]:,.0f}/s[/], {ITEMS / rates[kind][-1]:.2f} s a batch")
    for kind, found in rates.items():
        if kind != FAST:  # the first round only warmed everything up
            report.add(Measure(f"batch, {kind} : {FAST}", found[1:], rates[FAST][1:], "items/s", 1 / 3))
