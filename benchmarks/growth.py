"""What ten million finished executions cost those that come after them."""

from benchmarks.plan import Plan
from benchmarks.report import Report


def growth(report: Report, plan: Plan) -> None:
    """Measure 7."""
    report.skip("growth", "not written yet")
