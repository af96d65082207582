"""Reads JSON documents strictly."""

import json
from typing import Any


def read(data: bytes) -> Any:
    """Return the value. Raises `ValueError` if the text is not UTF-8 JSON, or if a member occurs twice."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("the document is nested too deeply") from None


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(members)
    if len(made) < len(members):
        raise ValueError("a member occurs twice")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
