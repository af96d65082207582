"""Untrusted text, made safe for terminals. Pure."""

import json
import re
from typing import Any

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z")


def clean(text: object, *, lines: bool = False) -> str:
    r"""Return `text` with every character escaped that a terminal may interpret or hide, as in `\x1b`.

    These are control characters, marks that change the direction of text, and lone surrogates. With `lines`, line
    feeds and tabs stay.
    """
    kept = "\n\t" if lines else ""
    return "".join(each if each.isprintable() or each in kept else _escaped(each) for each in str(text))


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
        return ", ".join(shown(each) for each in value) or "-"
    if isinstance(value, dict):
        return json.dumps(value)
    return clean(_MOMENT.sub(r"\1 \2Z", value) if isinstance(value, str) else value)


def member(document: Any, path: str) -> Any:
    """Return the member of nested objects at a path such as `pin.releaseVersion`; None if it is missing."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def flat(document: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return the names and values of a document's members. Nested names are joined with dots."""
    if isinstance(document, dict) and document:
        return [
            pair for name, value in document.items() for pair in flat(value, f"{prefix}.{name}" if prefix else name)
        ]
    if isinstance(document, list) and any(isinstance(each, dict | list) for each in document):
        return [pair for number, each in enumerate(document) for pair in flat(each, f"{prefix}[{number}]")]
    return [(prefix, document)]
