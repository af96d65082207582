"""Submissions per second, with all checks, against a view that inserts one row."""

from benchmarks.drf_peer import DrfPeer
from benchmarks.plan import Plan
from benchmarks.product_under_test import ProductUnderTest
from benchmarks.report import Measure, Report
from benchmarks.running_product import THREE_STEPS
from benchmarks.throughput import ONE_BY_ONE, Rate, interleaved, peer_rate

WARM_UP = 200


def submission(report: Report, plan: Plan) -> None:
    """Measure 5. Control worker and worker are frozen, so that only the web processes work."""
    name = "submissions with all checks"
    connections = ONE_BY_ONE.connections
    with ProductUnderTest() as product:
        report.say("The product is up")
        product.host(THREE_STEPS)

        def ours(count: int) -> float:
            measured = product.round(THREE_STEPS, count, ONE_BY_ONE, paused=product.workers())
            report.round(name, measured, submission_only=True)
            return measured.submission_rate

        ours(WARM_UP)
        count = max(WARM_UP, int(ours(WARM_UP) * plan.seconds))
        report.forget(name)
        peers: dict[str, Rate] = {}
        if plan.peers:
            view = DrfPeer(product)
            view.round(WARM_UP, connections)
            rows = max(WARM_UP, int(view.round(WARM_UP, connections).rate * plan.seconds))
            peers["DRF view"] = peer_rate(report, "DRF view", lambda: view.round(rows, connections))
        our_rates, theirs = interleaved(plan, lambda: ours(count), peers)
        report.add(
            Measure(f"{name} : DRF view that inserts a row", our_rates, theirs.get("DRF view", []), "requests/s", 2.0)
        )
        report.compare_cpu(name, name, "DRF view")
