"""Applies each mutant in a scratch copy and runs the tests that should notice: `python -m tests.mutants [NAME …]`."""

import argparse
import datetime
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.mutants.campaign import BaselineFailed, baseline, good_enough, report, verdicts
from tests.mutants.lane import lane
from tests.mutants.mistakes import mistakes
from tests.mutants.mutant import all_mutants, of_the_day


def main() -> int:
    """Return 0 if enough mutants are killed, 1 if not, 2 if an entry does not fit or a test fails without a mutant."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument(
        "names",
        nargs="*",
        help="prefixes of names, such as `leases`, or complete names, such as `leases-3`; default: all",
    )
    parser.add_argument(
        "--today",
        action="store_true",
        help="try ten quick ones, different ones each day, without checking first that their tests pass",
    )
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 4), help="number of lanes")
    options = parser.parse_args()
    # As after Ctrl-C, the servers are stopped and the copies are removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    chosen = [mutant for mutant in all_mutants() if not options.names or any(map(mutant.is_called, options.names))]
    if options.today:
        chosen = of_the_day(chosen, datetime.datetime.now(datetime.UTC).date())
    if errors := mistakes(chosen) or ([] if chosen else ["No mutant has this name."]):
        print("\n".join(errors), file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ExitStack() as stack:
        jobs = min(options.jobs, len(chosen))
        lanes = [stack.enter_context(lane(Path(folder, str(number)))) for number in range(jobs)]
        try:
            if not options.today:
                baseline(chosen, lanes)
        except BaselineFailed as failure:
            print(f"{failure}\nThese tests fail on the unchanged code.", file=sys.stderr)
            return 2
        found_verdicts = verdicts(chosen, lanes, lambda line: print(line, file=sys.stderr, flush=True))
    print(report(found_verdicts), end="")
    return 0 if good_enough(found_verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
