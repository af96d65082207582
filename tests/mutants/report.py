"""Reports the results of the mutants, and decides whether they are good enough."""

from collections.abc import Iterator, Sequence

from tests.mutants.campaign import BROKEN, KILLED, Verdict

ENOUGH = 0.97


def good_enough(verdicts: Sequence[Verdict]) -> bool:
    """True if at least 97 % are killed, and no entry is broken."""
    results = [verdict.result for verdict in verdicts]
    return results.count(KILLED) >= ENOUGH * len(results) and BROKEN not in results


def report(verdicts: Sequence[Verdict]) -> str:
    """Return a line for each mutant, and details of the mutants that need attention."""
    return "\n".join(_lines(verdicts)) + "\n"


def _lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for verdict in verdicts:
        noticed = f" [{verdict.note}]" if verdict.result == KILLED else ""
        yield f"{verdict.result:9} {verdict.mutant.name}: {verdict.mutant.promise}{noticed}"
    for verdict in verdicts:
        yield from _details(verdict)
    killed = sum(verdict.result == KILLED for verdict in verdicts)
    yield ""
    yield f"{killed} of {len(verdicts)} mutants killed: {killed / max(len(verdicts), 1):.1%}"


def _details(verdict: Verdict) -> Iterator[str]:
    mutant = verdict.mutant
    if verdict.result == KILLED:
        return
    yield ""
    yield f"{mutant.name} in {mutant.file} {verdict.result}: {mutant.promise}"
    yield verdict.note if verdict.result == BROKEN else f"  No test in {', '.join(mutant.tests)} failed."
