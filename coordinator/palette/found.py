"""What the palette finds."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from django.urls import reverse

EACH: Final = 6
"""How many results of a kind are returned."""


@dataclass(frozen=True, slots=True)
class Found:
    """A result: a title, what it is, and its page."""

    title: str
    kind: str
    address: str
    icon: str


def page(view: str, *arguments: object, **query: str) -> str:
    address = reverse(f"admin:{view}", args=arguments)
    return f"{address}?{urlencode(query)}" if query else address


def words_of(term: str) -> list[str]:
    return term.casefold().split()


def matches(words: list[str], text: str) -> bool:
    """Return True if `text` contains each of `words`, in any case."""
    folded = text.casefold()
    return all(word in folded for word in words)
