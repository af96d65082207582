"""Parts of pages that other packages add."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: a template, and the `section` that it displays."""

    template: str
    section: Any
