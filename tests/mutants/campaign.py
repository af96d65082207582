"""Runs the tests on the unchanged code and then on each mutant, in several lanes at once, and reports the results."""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from queue import SimpleQueue
from typing import TypeVar

from tests.mutants.lane import Lane
from tests.mutants.mutant import Mutant

KILLED, SURVIVED, HUNG, BROKEN = "killed", "survived", "hung", "broken"
_RESULTS = {1: KILLED, 0: SURVIVED, None: HUNG}

LIMIT_SECONDS = 300.0
"""A mutant whose tests take longer hangs."""
_FAILED = re.compile(r"^FAILED ", re.MULTILINE)
_NOTICED = re.compile(r"^(?:FAILED|ERROR) \S+", re.MULTILINE)

Item = TypeVar("Item")
Result = TypeVar("Result")
ENOUGH = 0.97


class BaselineFailed(Exception):
    """A named test fails on the unchanged code. The message is the output of pytest."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a mutant. `note` names the test that failed; for a broken entry, it is the output of pytest."""

    mutant: Mutant
    result: str
    seconds: float
    note: str


def baseline(mutants: Sequence[Mutant], lanes: Sequence[Lane]) -> None:
    """Run each test of the mutants once on the unchanged code. Raises `BaselineFailed` if a test fails."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    files = sorted({_file(test) for test in tests})
    parts = [
        [test for test in tests if _file(test) in files[number :: len(lanes)]]
        for number in range(min(len(lanes), len(files)))
    ]
    for run in _in_lanes(lambda part, lane: lane.run(*part), parts, lanes):
        if run.code != 0:
            raise BaselineFailed(run.output)


def verdicts(mutants: Sequence[Mutant], lanes: Sequence[Lane], progress: Callable[[str], None]) -> list[Verdict]:
    """Return the verdict of each mutant, in the same order. `progress` is called with a line for each."""
    numbers = count(1)

    def judge(mutant: Mutant, lane: Lane) -> Verdict:
        judged = verdict(mutant, lane, LIMIT_SECONDS)
        head = f"{next(numbers):4}/{len(mutants)} {judged.result:8} {judged.seconds:5.1f} s"
        progress(f"{head}  {mutant.name}: {mutant.promise}")
        return judged

    return _in_lanes(judge, mutants, lanes)


def verdict(mutant: Mutant, lane: Lane, seconds: float) -> Verdict:
    with lane.changed(mutant):
        run = lane.run("-x", *mutant.tests, seconds=seconds)
        if run.code == 1 and not _FAILED.search(run.output):
            # Only a fixture failed. A failure that the mutant did not cause is unlikely to repeat.
            run = lane.run("-x", *mutant.tests, seconds=seconds)
    result = _RESULTS.get(run.code, BROKEN)
    noticed = _NOTICED.search(run.output)
    note = noticed[0] if noticed and result == KILLED else run.output if result == BROKEN else ""
    return Verdict(mutant, result, run.seconds, note)


def _in_lanes(work: Callable[[Item, Lane], Result], items: Sequence[Item], lanes: Sequence[Lane]) -> list[Result]:
    """Call `work` for each item, one call at a time in each lane. Return the results in the order of the items."""
    free: SimpleQueue[Lane] = SimpleQueue()
    for lane in lanes:
        free.put(lane)

    def in_a_lane(item: Item) -> Result:
        lane = free.get()
        try:
            return work(item, lane)
        finally:
            free.put(lane)

    with ThreadPoolExecutor(len(lanes)) as pool:
        try:
            return list(pool.map(in_a_lane, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _file(test: str) -> str:
    return test.partition("::")[0]


def good_enough(verdicts: Sequence[Verdict]) -> bool:
    results = [verdict.result for verdict in verdicts]
    return results.count(KILLED) >= ENOUGH * len(results) and BROKEN not in results


def report(verdicts: Sequence[Verdict]) -> str:
    """Return the details of the mutants that need attention, and how many were killed."""
    lines = [line for verdict in verdicts for line in _details(verdict)]
    killed = sum(verdict.result == KILLED for verdict in verdicts)
    return "\n".join(
        [*lines, "", f"{killed} of {len(verdicts)} mutants killed: {killed / max(len(verdicts), 1):.1%}", ""]
    )


def _details(verdict: Verdict) -> Iterator[str]:
    mutant = verdict.mutant
    if verdict.result == KILLED:
        return
    yield ""
    yield f"{mutant.name} in {mutant.file} {verdict.result}: {mutant.promise}"
    yield verdict.note if verdict.result == BROKEN else f"  No test in {', '.join(mutant.tests)} failed."
