"""Decides whether work that stopped before a step of one release can continue at the same step of another. Pure.

A checkpoint is compatible only if this is proven: the steps up to the checkpoint are the same, by name, order and
cardinality, and the newer step accepts every value that the older steps return. What cannot be decided is a difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from wire.comparison.comparison import worker_differences
from wire.comparison.differences import Area, Difference, Impact, Kind, ordered
from wire.comparison.step_types import stored_differences
from wire.comparison.steps import step_differences, step_path
from wire.documents.contract import Contract, Step

_UNNAMED: Final = "A step is identified by its name, and this one has none or shares it with another step."
_NO_STEP: Final = "The contract has no step at the place of the checkpoint."


def checkpoint_differences(before: Contract, after: Contract, step_index: int) -> tuple[Difference, ...]:
    """Return why values that were stored before step `step_index` of `before` may not continue at that step of `after`.

    None means that it is proven that they can. Equal contracts have no differences. `step_index` may be the number of
    steps: then no step is left on the older release. Never raises.
    """
    if before == after:
        return ()
    if not before.steps or step_index > len(before.steps):
        return (_unknown("steps", _NO_STEP),)
    old, new = (each.model_copy(update={"steps": each.steps[: step_index + 1]}) for each in (before, after))
    found = ordered(
        each
        for each in chain(_unnamed(old.steps), step_differences(old, new), worker_differences(old, new))
        if each.impact is not Impact.COMPATIBLE
    )
    return found or ordered(_of_values(before, after, step_index))


def taken_type(of: Contract, step_index: int) -> str | None:
    """Return the type of the value with which `of` continues at a step. If no step is left, that of its result."""
    if step_index < len(of.steps):
        return of.steps[step_index].input_type_id
    return of.steps[-1].output_type_id if of.steps else None


def _of_values(before: Contract, after: Contract, step_index: int) -> Iterator[Difference]:
    stored = before.steps[step_index - 1].output_type_id if step_index else before.steps[0].input_type_id
    taken = taken_type(after, step_index)
    for difference in stored_differences("checkpoint", (before, stored), (after, taken)):
        if difference.impact is not Impact.COMPATIBLE:
            yield difference


def _unnamed(steps: Sequence[Step]) -> Iterator[Difference]:
    names = Counter(step.authored_name for step in steps)
    for place, step in enumerate(steps):
        if not step.authored_name or names[step.authored_name] > 1:
            yield _unknown(step_path(step.authored_name or f"step {place}"), _UNNAMED)


def _unknown(path: str, reason: str) -> Difference:
    return Difference(Area.STEP, Kind.CHANGED, Impact.UNKNOWN, path, "", "", reason)
