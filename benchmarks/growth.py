"""The buffers of every statement that the product sends, with few and with many executions of uneven tenants.

Both sizes run at the same time, on separate servers. `benchmarks.uneven` has the rows, and
`benchmarks.costs.statements` the work.
"""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from benchmarks.costs.installation import installation
from benchmarks.ledger import LedgerError
from benchmarks.plan import Plan
from benchmarks.report import Measure, Report

FEW: Final = 20_000
MOST: Final = 1.5
LEAST: Final = 150
"""A statement that reads less is not judged: with more rows, an index has a level more for each tenant."""
EXCEPTIONS: Final[Mapping[str, str]] = {
    # bounded, but not reached with few executions
    r"SELECT COUNT\(\*\) FROM \(SELECT": "counts at most 10,000 executions or 1,000 questions",
    r"WITH newest AS": "reads the newest 20,000 executions of the tenant",
    r"SELECT g\.id, f\.total": "looks up at most 500 failures of each of 50 groups",
    r"SELECT e\.release_id, d\.error_code": "reads the newest failures of the last day, a fixed number of each tenant",
    r'"executions_failuregroup"\."error_code" .* LIMIT': "suggests the errors of the newest groups",
    r"page, questions: SELECT": "suggests the names in the questions with the nearest deadlines",
    r"API, executions, stepIndex=\d+: .* LIMIT|admin, executions, step: ": "looks up at most 500 executions",
    r"FETCH FORWARD": "an export reads what it contains",
    r"WITH span AS": "reads the counts of each release and minute",
    r'FROM "releases_release" .* "releases_release"\."id" IN': "reads the releases that it shows",
    r"page, recovery proof: ": "checks at most 300 failures of the release",
    r"WITH RECURSIVE next AS \( \(SELECT e\.tenant_id": "looks at the next 500 concurrency keys",
    r"WITH RECURSIVE found": "reads one entry of each release that has due executions",
    # live work and former workers: the sweep and the retention of workers end what would grow without limit
    r"status=(WAITING_EXTERNAL|QUEUED)|admin, executions, (waiting|live|stranded)": "sorts the live executions",
    r"executions_interaction i WHERE i\.execution_id = e\.id": "reads the open executions of one release",
    r"admin, executions, three conditions": "sorts the failures of a release with one error",
    r"open\.executions, open\.oldest": "reads the open executions of releases without workers",
    r"WITH hosted|page, workers: ": "reads the former workers of stranded releases, or lists all of them",
    r"(interaction|questions)/?\?": "filters and sorts the open questions, or those of several tenants",
    # no index: each submission or failure would write to it. The list has a time limit.
    r"submittedBy=token|admin, executions, by: ": "no index has what a token submitted",
    r"releaseVersion=2|preview of a campaign by release": "no index orders the executions of a release by their time",
    r"executions, (key|prefix=|nothing)|(palette|search page): ": "sorts all executions whose key begins so",
    r"dead-?letters?/?\?(error|release)": "no index has the failures of smoke tests, or of an error",
    r"preview of a campaign .*replacement_of": "looks for what carries on the work of each execution",
}
"""Why a statement may read more with more executions, by a pattern of `Growth.name`."""


UNREAD: Final[Mapping[str, str]] = {
    "interaction_open": "the open questions of a small tenant",
}
"""What reads an index of the loaded tables that this work, which is that of the largest tenant, does not use."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The buffers of each statement, by its id, of each kind of work; and the indexes that none of them used.

    `costs` has, of each kind of work, the milliseconds of CPU time, the statements, and those of the slowest statement
    with its id.
    """

    buffers: Mapping[str, Mapping[str, int]]
    costs: Mapping[str, tuple[float, int, float, str]]
    texts: Mapping[str, str]
    unread: list[str]


@dataclass(frozen=True, slots=True)
class Growth:
    """A statement of a kind of work, and the buffers that it reads with few and with many executions."""

    name: str
    few: int
    many: int

    @property
    def is_too_large(self) -> bool:
        return self.many > max(MOST * self.few, LEAST)

    @property
    def reason(self) -> str:
        """Return why it may be large, or ""."""
        return reason_of(self.name)


def growth(report: Report, plan: Plan) -> None:
    """Measure 7: the same work with few and with many executions."""
    few, many = counted(plan.rows)
    for work, statements in many.buffers.items():
        totals = [float(max(1, sum(side.values()))) for side in (statements, few.buffers[work])]
        report.add(Measure(work, [totals[0]], [totals[1]], "buffers", None))
    for kind in growths(few, many):
        if kind.is_too_large:
            bar, name = (None, kind.name[:100]) if kind.reason else (MOST, kind.name[:300])
            ours, theirs = [float(kind.many)], [float(max(1, kind.few))]
            report.add(Measure(name, ours, theirs, "buffers", bar, "at most", note=kind.reason))
    for name in set(many.unread) - UNREAD.keys():
        report.fail("growth", LedgerError(f"no statement used the index {name}"))


def counted(rows: int) -> tuple[Counted, Counted]:
    """Return what is counted with FEW and with `rows` executions."""
    with ThreadPoolExecutor(2) as pool:
        few, many = pool.map(count, (FEW, rows))
    return few, many


def growths(few: Counted, many: Counted) -> Iterator[Growth]:
    """Yield each statement of each kind of work. The name has both."""
    for work, statements in many.buffers.items():
        for identity, buffers in statements.items():
            yield Growth(f"{work}: {many.texts[identity]}", few.buffers[work].get(identity, 0), buffers)


def count(rows: int, *parts: str) -> Counted:
    """Return what is counted with `rows` executions, of the kinds of work whose names contain one of `parts`."""
    with installation() as installed:
        return Counted(**installed.run("statements", str(installed.folder / "built"), str(rows), *parts))


def reason_of(name: str) -> str:
    """Return why the statement of this `Growth.name` may read more with more executions, or ""."""
    return next((reason for pattern, reason in EXCEPTIONS.items() if re.search(pattern, name)), "")
