"""Runs steps with branches: each call of a branch is an item of the step (ADR 127)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from pipelines import step_reports
from pipelines.authoring.planned_branches import joined
from pipelines.authoring.planned_step import PlannedBranching, PlannedStep
from pipelines.authoring.values import Encoded
from pipelines.worker.items import BranchCall


def branching_of(step: PlannedStep) -> PlannedBranching:
    if step.branching is None:
        raise TypeError(f"step {step.name} has no branches")
    return step.branching


def calls_of_one(step: PlannedStep) -> int:
    """Return how many branches are called for one value."""
    return len(branching_of(step).branches) if branching_of(step).route is None else 1


def calls(
    step: PlannedStep,
    values: Iterator[Encoded],
    call: Callable[[PlannedStep, Any, int | None], Encoded],
    *,
    is_stream: bool,
) -> Iterator[BranchCall]:
    """Yield the calls for each value: one for each branch, or one for the branch that the route chooses.

    ``call`` calls the route.
    """
    branching = branching_of(step)
    for index, encoded in enumerate(values):
        item_index = index if is_stream else None
        if branching.route is None:
            called = list(branching.branches.values())
        else:
            name = call(branching.route, encoded.value, item_index).value
            called = [branching.branches[name]]
            if not is_stream:
                note(step, f"The branch {name} was chosen")
        for branch in called:
            yield BranchCall(encoded.document, encoded.value, branch, item_index)


def note(step: PlannedStep, text: str) -> None:
    """Add a line to what the step reports, so that the page of the execution shows it."""
    reporting = step_reports.current.get()
    if reporting is not None:
        step_reports.reports_of(reporting).add_line("INFO", step.name, None, text)


def results(step: PlannedStep, encoded: Iterator[Encoded]) -> Iterator[Encoded]:
    """Yield the results of the step, for those of its calls."""
    if branching_of(step).route is not None:
        yield from encoded
        return
    while calls := list(islice(encoded, calls_of_one(step))):
        yield joined(step, calls)


def decoded(step: PlannedStep, call_index: int, document: Any) -> Encoded:
    """Return the stored result of a call. ``call_index`` counts the calls of all items."""
    if branching_of(step).route is not None:
        return Encoded(document, step.output.decode(document))
    branch = list(branching_of(step).branches.values())[call_index % calls_of_one(step)]
    if branch.cardinality.gives_many:
        return Encoded(document, [branch.output.decode(item) for item in document])
    return Encoded(document, branch.output.decode(document))
