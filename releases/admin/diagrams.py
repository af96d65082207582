"""The picture of a contract: its steps from top to bottom, with the types that pass from one to the next. Pure."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from wire.documents.contract import Contract, Step

MOST_STEPS: Final = 50
LONGEST_TEXT: Final = 34
WIDTH: Final = 320
BOX: Final = 46
GAP: Final = 44
_TOP: Final = 34


@dataclass(frozen=True, slots=True)
class Box:
    """A step. `y` is its upper edge. `is_await` is true if it waits for an answer from outside."""

    y: int
    name: str
    note: str
    is_await: bool


@dataclass(frozen=True, slots=True)
class Arrow:
    """The type that goes into a step or comes out of the last one. `y` is where the arrow begins."""

    y: int
    label: str


@dataclass(frozen=True, slots=True)
class Diagram:
    """What a template draws. `more` is how many steps are left out."""

    boxes: list[Box]
    arrows: list[Arrow]
    height: int
    more: int
    width: int = WIDTH
    box_height: int = BOX
    gap: int = GAP


def diagram(contract: Contract) -> Diagram:
    steps = contract.steps[:MOST_STEPS]
    boxes = [_box(step, _TOP + index * (BOX + GAP)) for index, step in enumerate(steps)]
    arrows = [Arrow(_TOP + index * (BOX + GAP) - GAP, label) for index, label in enumerate(_labels(steps))]
    return Diagram(boxes, arrows, _TOP + len(steps) * (BOX + GAP), len(contract.steps) - len(steps))


def _box(step: Step, y: int) -> Box:
    is_await = step.await_transport is not None or step.deferred_completion is not None
    over = f" over {step.await_transport}" if step.await_transport else ""
    note = ", ".join(
        part for part in (f"{step.kind}{over}", (step.cardinality or "").replace("_", " ").lower()) if part
    )
    return Box(y, _end(f"{step.index}. {step.authored_name or 'unnamed'}"), _end(note), is_await)


def _labels(steps: tuple[Step, ...]) -> list[str]:
    """Return a label above each step, and one below the last."""
    if not steps:
        return []
    labels = [_tail(steps[0].input_type_id)]
    for before, after in pairwise(steps):
        left, right = before.output_type_id, after.input_type_id
        same = left == right or left is None or right is None
        labels.append(_tail(left or right) if same else _tail(f"{left} → {right}"))
    return [*labels, _tail(steps[-1].output_type_id)]


def _end(text: str) -> str:
    """Return the text without what is too long at its end."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _tail(text: str | None) -> str:
    """Return the text without what is too long at its beginning: the end of a class name tells more."""
    text = text or "no type"
    return text if len(text) <= LONGEST_TEXT else f"…{text[1 - LONGEST_TEXT :]}"
