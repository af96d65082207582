"""`python -m benchmarks [PART…]`: measure, print and write the ratios. Default: all but `growth` and `pages`.

With `--against COMMIT`, the working tree is compared with that commit instead of with peers.
"""

import argparse
import sys
from collections.abc import Callable

from rich.console import Console

from benchmarks import against
from benchmarks.fairness import fairness
from benchmarks.growth import growth
from benchmarks.large_inputs import large_inputs
from benchmarks.latency import idle_latency
from benchmarks.ledger import LedgerError
from benchmarks.load import LoadError
from benchmarks.optional_parts import quotas, traces
from benchmarks.overload import overload
from benchmarks.pages import pages
from benchmarks.paired import rounds_needed
from benchmarks.peer_environment import PeerMissing
from benchmarks.plan import Plan
from benchmarks.report import Report
from benchmarks.scaling import scaling
from benchmarks.startup import startup
from benchmarks.submission import submission
from benchmarks.throughput import batch, checkpointed, one_by_one
from benchmarks.verdicts import verdicts
from benchmarks.versions import VersionError
from coordinator_client.errors import ClientError
from embedded.children import ChildError
from embedded.client import DemoError

PARTS: dict[str, Callable[[Report, Plan], None]] = {
    "one-by-one": one_by_one,
    "batch": batch,
    "checkpointed": checkpointed,
    "submission": submission,
    "verdicts": verdicts,
    "large-inputs": large_inputs,
    "idle-latency": idle_latency,
    "fairness": fairness,
    "overload": overload,
    "quotas": quotas,
    "traces": traces,
    "scaling": scaling,
    "startup": startup,
    "growth": growth,
    "pages": pages,
}
LONG = {"growth", "pages"}
FAILURES = (LedgerError, LoadError, PeerMissing, ChildError, ClientError, DemoError, VersionError)


def main() -> int:
    """Return 0 if every target is met and nothing is slower than the other commit, else 1."""
    arguments = _parser().parse_args()
    offered = against.PARTS if arguments.against else PARTS
    chosen = arguments.parts or [part for part in offered if part not in LONG]
    if unknown := set(chosen) - set(offered):
        _parser().error(f"unknown part: {', '.join(sorted(unknown))}")
    report = Report(Console(width=None if sys.stdout.isatty() else 140), chosen)
    if arguments.against:
        return _compare(report, arguments.against, arguments.rounds or rounds_needed(len(chosen)))
    plan = Plan(arguments.rounds or Plan.rounds, arguments.seconds, not arguments.ours, arguments.rows)
    return _measure(report, plan)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; with --against: {', '.join(against.PARTS)}"
    )
    parser.add_argument("--against", metavar="COMMIT", help="compare the working tree with this commit")
    parser.add_argument("--rounds", type=int, help="number of rounds, in which each is measured in turn")
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="approximate duration of a round")
    parser.add_argument(
        "--rows",
        type=int,
        default=Plan.rows,
        help="number of finished executions in the parts growth and, at most a million, pages",
    )
    parser.add_argument(
        "--ours", action="store_true", help="measure only the product and its profile, without the peers"
    )
    return parser


def _measure(report: Report, plan: Plan) -> int:
    """Measure the chosen parts. If one fails, the results of the others are still reported."""
    for part in report.parts:
        try:
            PARTS[part](report, plan)
        except FAILURES as error:
            report.fail(part, error)
    report.show()
    report.console.print(f"Written to {report.write()}", highlight=False)
    return 1 if report.failed or any(measure.verdict == "MISSED" for measure in report.measures) else 0


def _compare(report: Report, commit: str, rounds: int) -> int:
    try:
        comparisons = against.against(report, commit, rounds)
    except FAILURES as error:
        report.fail("against", error)
        return 1
    written = report.write(against=commit, comparisons=against.documents(comparisons))
    report.console.print(f"Written to {written}", highlight=False)
    return 1 if any(comparison.verdict == "slower" for comparison in comparisons) else 0


if __name__ == "__main__":
    sys.exit(main())
