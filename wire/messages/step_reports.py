"""What the code of steps reports, as it travels: lines, and items that failed and were collected. Pure.

Both sides share it. Failed items are members of outcomes and checkpoints, and left out of those without such items.
"""

from __future__ import annotations

from operator import not_
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

MOST_LINES: Final = 200
"""How many lines an attempt keeps: its newest."""
MOST_LIVE_LINES: Final = 20
"""How many of them a heartbeat carries while the attempt runs."""
LONGEST_LINE: Final = 1_000
"""In characters, like all limits of texts."""
LONGEST_TOGETHER: Final = 64 * 1024
"""All lines of one attempt together."""

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
_Index = Annotated[int, Field(ge=0, lt=2**31)]
StepLine = tuple[
    Annotated[int, Field(ge=0, lt=2**53)],
    Level,
    _Index,
    _Index | None,
    Annotated[str, Field(max_length=LONGEST_LINE)],
]
"""When a line was written, in milliseconds since 1970; its level; the index of its step; the index of its item, or
null; and its text. An array, because messages contain many of them."""
StepLines = Annotated[list[StepLine], Field(max_length=MOST_LINES, fail_fast=True)]

MOST_FAILED_ITEMS: Final = 1_000
"""The number of failed items of one step that a report lists. It counts the others."""
LONGEST_FAILED_ITEMS: Final = 2 * 1024**2
"""How many characters the failed items of a report have together. It lists further items without their JSON."""
MOST_FAILING_STEPS: Final = 1_000
LONGEST_ERROR: Final = 100
LONGEST_REASON: Final = 512

_Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class FailedItem(_Part):
    """One item: its place in the stream, what the step raised, and how often it was called.

    `item` is JSON text; empty if the report has no place for it.
    """

    index: _Index
    error: Annotated[_Text, Field(max_length=LONGEST_ERROR)]
    message: Annotated[_Text, Field(max_length=LONGEST_REASON)]
    tries: _Index
    item: str = ""


class FailedItems(_Part):
    """The items for which a step failed, in the order of the stream. `failed` is the number of all of them."""

    step_index: _Index
    failed: Annotated[int, Field(ge=1, lt=2**31)]
    items: Annotated[list[FailedItem], Field(max_length=MOST_FAILED_ITEMS, fail_fast=True)]


# Omitted if empty, so that the messages of pipelines that collect no failures stay the same.
FailingSteps = Annotated[list[FailedItems], Field(max_length=MOST_FAILING_STEPS, fail_fast=True, exclude_if=not_)]
