"""Values of JSON documents as clean texts for terminals."""

import json
import re
from typing import Any

from foundation.sentences import joined

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z")


def columns_of(text: str) -> list[tuple[str, str]]:
    """Return the title and the path of each column of a text such as `RELEASE pin.releaseVersion, LAST SEEN at`."""
    return [(title, path) for title, _, path in (column.rpartition(" ") for column in text.split(", "))]


def clean(text: object, *, lines: bool = False) -> str:
    r"""Return `text` with every character escaped that a terminal may interpret or hide, as in `\x1b`.

    These are control characters, marks that change the direction of text, and lone surrogates. With `lines`, line
    feeds and tabs stay.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        character if character.isprintable() or character in kept else _escaped(character) for character in str(text)
    )


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def shown(value: Any) -> str:
    """Return a value of a JSON document as one line of clean text. Moments lose their fractions."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return joined(shown(item) for item in value) or "-"
    if isinstance(value, dict):
        return clean(json.dumps(value, ensure_ascii=False))
    return clean(_MOMENT.sub(r"\1 \2Z", value) if isinstance(value, str) else value)


def member(document: Any, path: str) -> Any:
    """Return the member of nested objects at a path such as `pin.releaseVersion`; None if it is missing."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document
