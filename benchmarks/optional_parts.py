"""What optional parts of the product cost, in CPU time: quotas, and traces of one request in a hundred."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from benchmarks.load import LoadError
from benchmarks.plan import Plan
from benchmarks.product_under_test import ProductUnderTest
from benchmarks.report import Report
from benchmarks.running_product import TENANT, THREE_STEPS
from benchmarks.throughput import ONE_BY_ONE, calibrated, interleaved, product_rate

LIMITED: Final = "limited"
QUOTA: Final = 1_000_000
"""More than a round submits, so that no submission is refused."""
MORE: Final = 2
"""How many times more rounds than in other parts, because both sides cost nearly the same."""
SAMPLE: Final = 0.01


def quotas(report: Report, plan: Plan) -> None:
    """Measure 13. A tenant with quotas of submissions and of open executions, against one without."""
    limited, unlimited = "with quotas", "without quotas"
    with ProductUnderTest() as product:
        report.say("The product is up")
        product.host(THREE_STEPS)
        product.host_for(LIMITED, THREE_STEPS)
        product.ledger.connection.execute(
            "UPDATE tenancy_tenant SET quota_submissions = %s, quota_open_executions = %s WHERE slug = %s",
            [QUOTA, QUOTA, LIMITED],
        )
        sides = _Side(limited, product, LIMITED), _Side(unlimited, product, TENANT)
        _compare(report, plan, "submitted one by one, with quotas", sides, bar=0.97)


def traces(report: Report, plan: Plan) -> None:
    """Measure 14. A product that traces one request in a hundred, against another one that traces none."""
    traced, untraced = "with traces", "without traces"
    with ExitStack() as up:
        collector = up.enter_context(_collector())
        settings = {"TRACES_ENDPOINT": f"http://127.0.0.1:{collector.server_port}", "TRACES_SAMPLE": str(SAMPLE)}
        products = up.enter_context(ProductUnderTest(**settings)), up.enter_context(ProductUnderTest())
        report.say("Both products are up")
        for product in products:
            product.host(THREE_STEPS)
        sides = _Side(traced, products[0], TENANT), _Side(untraced, products[1], TENANT)
        _compare(report, plan, "submitted one by one, traced", sides, bar=0.95)
        if not collector.exports:
            raise LoadError("No process exported a span.")


@dataclass(frozen=True, slots=True)
class _Side:
    name: str
    product: ProductUnderTest
    tenant: str


def _compare(report: Report, plan: Plan, name: str, sides: tuple[_Side, _Side], *, bar: float) -> None:
    """Compare the CPU time of two sides in rounds of equal size, in turn: what runs twice is warm, and cheaper."""
    count = min(calibrated(side.product, THREE_STEPS, plan.seconds, ONE_BY_ONE, side.tenant) for side in sides)
    ours, theirs = (
        product_rate(report, side.name, side.product, THREE_STEPS, plan, ONE_BY_ONE, tenant=side.tenant, count=count)
        for side in sides
    )
    interleaved(replace(plan, rounds=MORE * plan.rounds), ours, {sides[1].name: theirs})
    report.compare_cpu(name, sides[0].name, sides[1].name, bar)


class _Collector(ThreadingHTTPServer):
    """Accepts spans and counts the requests that contain them."""

    exports = 0


class _Accept(BaseHTTPRequestHandler):
    server: _Collector

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.exports += 1
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Print nothing."""


@contextmanager
def _collector() -> Iterator[_Collector]:
    with _Collector(("127.0.0.1", 0), _Accept) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
