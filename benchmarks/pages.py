"""What each page of the admin, and each search in its lists, costs with a million executions of 50 tenants."""

from typing import Final

from benchmarks.costs.ledger import PAGE_STATEMENTS
from benchmarks.growth import count, reason_of
from benchmarks.plan import Plan
from benchmarks.report import Measure, Report

MANY: Final = 1_000_000
CPU_MS: Final = 60
STATEMENT_MS: Final = 100
PARTS: Final = ("page, ", "admin, ")


def pages(report: Report, plan: Plan) -> None:
    """Measure 11: the CPU time, the statements and the slowest statement of each page, and their limits.

    A superuser opens the pages, and a member of all tenants the lists. The web process runs in the process that counts.
    """
    counted = count(min(plan.rows, MANY), *PARTS)
    shown = {page: cost for page, cost in counted.costs.items() if "/export/" not in page}
    for page, (cpu, statements, slowest, identity) in shown.items():
        text = counted.texts.get(identity, "")
        reason = reason_of(f"{page}: {text}")
        report.add(Measure(f"{page}: CPU time", [cpu], [CPU_MS], "ms", 1.0, "at most"))
        report.add(Measure(f"{page}: statements", [statements], [PAGE_STATEMENTS], "statements", 1.0, "at most"))
        bar, note = (None, reason) if reason else (1.0, text[:100])
        report.add(Measure(f"{page}: slowest statement", [slowest], [STATEMENT_MS], "ms", bar, "at most", note=note))
        report.say(f"{page}: {cpu:.0f} ms, {statements} statements, the slowest {slowest:.1f} ms")
