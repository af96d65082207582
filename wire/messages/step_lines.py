"""The lines that the code of steps writes, as they travel and as they are stored. Pure; both sides share it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

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
