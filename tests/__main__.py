"""Runs the tests: `python -m tests` all of `make test`, `python -m tests PART …` parts of `make test-all`."""

import argparse
import datetime
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.pace import Pace
from tests.part import PARTS, Part, part_of_the_day

CPU_MINUTES = 12
"""The budget of `make test`, servers included. A run that needs a quarter more fails, but a slow machine gets more."""
PROCESSES = "3"
"""Test processes: one more than two cores, because many tests mostly wait."""


def main() -> int:
    """Run what the arguments name. Return 0 if all passed."""
    parser = argparse.ArgumentParser(prog="python -m tests", description="Without a part, runs all of `make test`.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}, `all` or `today`")
    chosen = list(dict.fromkeys(parser.parse_args().parts))
    if not chosen:
        return run_tests()
    names = {"all": list(PARTS), "today": [part_of_the_day(datetime.datetime.now(datetime.UTC).date())]}
    parts = [name for choice in chosen for name in names.get(choice, [choice])]
    if unknown := [name for name in parts if name not in PARTS]:
        parser.error(f"there is no part {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    failed = [name for name in parts if run_part(name, PARTS[name])]
    print(f"Parts that failed: {', '.join(failed) or 'none'}.")
    return bool(failed)


def run_tests() -> int:
    """Run the tests outside of `tests/parts`, the ledger of costs, and ten mutants."""
    pytest = ["pytest", "-n", PROCESSES, "--durations=10", "--ignore=tests/parts", "tests"]
    with measured("make test") as used, Pace() as pace:
        failed = _failed(*pytest) or _failed("benchmarks.costs") or _failed("tests.mutants", "--today")
    minutes = CPU_MINUTES * 1.25 * pace.slowness
    print(f"The limit is {minutes:.1f} minutes of CPU time here: it takes {pace.slowness:.2f} times the usual.")
    return failed or used[0] / 60 > minutes


def run_part(name: str, part: Part) -> int:
    """Install the tools of the part and run it."""
    print(f"Part {name}: {part.proves}.", flush=True)
    if part.root and os.geteuid() != 0:
        print(f"Part {name} needs root on Debian: {part.root}.", file=sys.stderr)
        return 1
    for command in (["./bootstrap", "test", *part.groups], *([f".ci/{tool}"] for tool in part.tools)):
        subprocess.run(command, check=True)
    with measured(f"part {name}"):
        return _failed(*part.command, environment=part.environment)


@contextmanager
def measured(name: str) -> Iterator[list[float]]:
    """Print how long the block took. Afterwards the list holds the CPU time of its processes in seconds."""
    used: list[float] = []
    began, before = time.monotonic(), _cpu_seconds()
    yield used
    used.append(_cpu_seconds() - before)
    print(f"{name}: {(time.monotonic() - began) / 60:.1f} minutes, {used[0] / 60:.1f} minutes of CPU time", flush=True)


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def _failed(*module: str, environment: Mapping[str, str] | None = None) -> int:
    variables = {**os.environ, **(environment or {})}
    return subprocess.run([sys.executable, "-m", *module], env=variables, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
