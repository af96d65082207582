"""Reports the results of the mutants, and decides whether they are good enough."""

from collections.abc import Iterator, Sequence

from tests.mutants.campaign import BROKEN, HUNG, KILLED, SURVIVED, Verdict

ENOUGH = 0.95


def good_enough(verdicts: Sequence[Verdict]) -> bool:
    """True if at least 95 % are killed, no entry is broken, and no mutant with `survives` is killed."""
    killed = [verdict for verdict in verdicts if verdict.result == KILLED]
    return (
        len(killed) >= ENOUGH * len(verdicts)
        and not any(verdict.result == BROKEN for verdict in verdicts)
        and not any(verdict.mutant.survives for verdict in killed)
    )


def report(verdicts: Sequence[Verdict]) -> str:
    """Return a line for each mutant, a table of the subjects, and details of the mutants that need attention."""
    return "\n".join(_lines(verdicts)) + "\n"


def _lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for verdict in verdicts:
        noticed = f" [{verdict.note}]" if verdict.result == KILLED else ""
        yield f"{verdict.result:9} {verdict.mutant.name}: {verdict.mutant.promise}{noticed}"
    yield ""
    subjects = dict.fromkeys(verdict.mutant.subject for verdict in verdicts)
    width = max(map(len, [*subjects, "subject"]))
    yield f"{'subject':{width}} mutants  killed  survived  hung  broken"
    for subject in subjects:
        yield _row(subject.ljust(width), [verdict for verdict in verdicts if verdict.mutant.subject == subject])
    yield _row("all".ljust(width), verdicts)
    for verdict in verdicts:
        yield from _details(verdict)
    killed = sum(verdict.result == KILLED for verdict in verdicts)
    yield ""
    yield f"{killed} of {len(verdicts)} mutants killed: {killed / max(len(verdicts), 1):.1%}"


def _row(name: str, verdicts: Sequence[Verdict]) -> str:
    numbers = [sum(verdict.result == result for verdict in verdicts) for result in (KILLED, SURVIVED, HUNG, BROKEN)]
    return f"{name} {len(verdicts):7} {numbers[0]:7} {numbers[1]:9} {numbers[2]:5} {numbers[3]:7}"


def _details(verdict: Verdict) -> Iterator[str]:
    mutant = verdict.mutant
    if verdict.result == KILLED and not mutant.survives:
        return
    yield ""
    yield f"{mutant.name} in {mutant.file} {verdict.result}: {mutant.promise}"
    if verdict.result == BROKEN:
        yield verdict.note
    elif mutant.survives:
        yield f"  Explanation: {mutant.survives}"
        if verdict.result == KILLED:
            yield "  A test kills it, so the explanation is wrong: remove `survives`."
    else:
        yield f"  No test in {', '.join(mutant.tests)} failed."
