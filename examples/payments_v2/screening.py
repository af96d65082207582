"""Compares names with the denied-party list of this package."""

import csv
import unicodedata
from functools import cache
from importlib import resources


def denied_party(name: str) -> str | None:
    """Return the matching entry of the list. Capitals, accents, punctuation and the order of words do not matter."""
    return _denied_parties().get(_key(name))


@cache
def _denied_parties() -> dict[tuple[str, ...], str]:
    text = (resources.files(__package__) / "data" / "denied_parties.csv").read_text(encoding="utf-8")
    found = {}
    for row in csv.DictReader(text.splitlines()):
        for name in (row["name"], *filter(None, row["also_known_as"].split(";"))):
            found[_key(name)] = row["name"]
    return found


def _key(name: str) -> tuple[str, ...]:
    plain = unicodedata.normalize("NFKD", name.casefold())
    kept = "".join(
        " " if not character.isalnum() else character for character in plain if not unicodedata.combining(character)
    )
    return tuple(sorted(kept.split()))
