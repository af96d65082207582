"""`make costs`: counts what each kind of work costs. Ends with status 1 if anything costs more than the ledger allows.

See docs/contributing/costs.md.
"""

import argparse
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.costs.installation import CountingError, installation
from benchmarks.costs.ledger import FILE, HISTORY, Difference, Ledger, Tables, over_limit
from benchmarks.costs.measuring import VERSION

GROUPS: Final = {"browser", "check", "test"}
"""The groups of pyproject.toml with which the ledger is counted."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="count only kinds of work with this in their name")
    parser.add_argument("--lower", action="store_true", help="write figures that are lower, and new kinds of work")
    parser.add_argument("--raise", dest="reason", default="", metavar="REASON", help="write figures that are higher")
    arguments = parser.parse_args()
    try:
        with installation() as installed:
            counted = installed.count(arguments.parts)
    except CountingError as error:
        print(error, file=sys.stderr)
        return 1
    ledger, complete = Ledger.read(), not arguments.parts
    if arguments.lower:
        _update_tables(ledger, counted, complete=complete)
    differences = [
        difference for difference in ledger.differences(counted) if complete or difference.name not in HISTORY
    ]
    failures = _judge(ledger, differences, lower=arguments.lower, reason=arguments.reason)
    failures += over_limit(counted)
    failures += [] if arguments.lower else _unmatched(ledger, counted, complete=complete)
    if arguments.lower or arguments.reason:
        ledger.write()
        print(f"Written to {FILE}")
    for failure in failures:
        print(f"FAILED {failure}")
    if failures and (others := _groups() - GROUPS):
        print(f"This environment also has the groups {', '.join(sorted(others))}, whose packages processes may load.")
    print(f"Costs: {len(counted)} tables, {len(failures)} failures, {_cpu_seconds():.0f} s of CPU time")
    return 1 if failures else 0


def _judge(ledger: Ledger, differences: Sequence[Difference], *, lower: bool, reason: str) -> list[str]:
    """Change the entries that may be changed, and print them. Return the figures that are too high."""
    failures = []
    for difference in differences:
        if difference.is_higher and not reason:
            failures.append(str(difference))
        elif difference.is_higher or lower:
            ledger.change(difference, reason if difference.is_higher else "")
            print(f"Changed {difference}")
        else:
            print(f"May be lowered: {difference}")
    return failures


def _unmatched(ledger: Ledger, counted: Tables, *, complete: bool) -> list[str]:
    """Return the tables that only one side has. The ledger needs no figures of this version of Python."""
    missing = [name for name in counted if name not in ledger.tables]
    if not ledger.has_version(VERSION):
        print(f"The ledger has no calls and modules in Python {VERSION}. Only the servers were compared.")
        missing = [name for name in missing if not name.endswith(f"Python {VERSION}")]
    failures = [f"{name}: not in the ledger" for name in missing]
    return failures + [f"{name}: not counted" for name in (ledger.stale(counted, VERSION) if complete else ())]


def _update_tables(ledger: Ledger, counted: Tables, *, complete: bool) -> None:
    """Add kinds of work that are new, and remove those that are no longer counted."""
    for name in ledger.stale(counted, VERSION) if complete else ():
        del ledger.tables[name]
    for name in counted:
        ledger.tables.setdefault(name, dict(counted[name]))


def _groups() -> set[str]:
    """Return the groups of pyproject.toml that `bootstrap` has installed in this environment."""
    ready = Path(sys.prefix) / ".ready"
    lines = ready.read_text().splitlines() if ready.exists() else []
    return set(lines[2].split()) if len(lines) > 2 else set()


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    sys.exit(main())
