"""Parts of the pages of releases and pipelines: the pauses, and those that other packages add."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: a template, and the `section` that it displays."""

    template: str
    section: Any


def open_holds(*rows: Any) -> list[Any]:
    """Return the open holds of these rows. Each row has a relation `holds`."""
    return [hold for row in rows for hold in row.holds.filter(ended_at=None).select_related("release")]
