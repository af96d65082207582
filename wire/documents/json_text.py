"""Reads JSON texts from workers, and rejects values that the database cannot store. Pure."""

import json
import math
from collections.abc import Sequence
from typing import Any

from wire.documents.json_reader import count_values, holds_more_values
from wire.value_limits import DEEPEST, MOST_VALUES


def storable(text: str) -> Any:
    """Return the JSON value in `text`.

    Raises ValueError for what PostgreSQL cannot store as jsonb: U+0000, lone surrogates and numbers that are not
    finite. Raises it also for more than MOST_VALUES values, and for more than DEEPEST levels.
    """
    if holds_more_values(text.encode(), MOST_VALUES):
        raise ValueError(f"the value contains more than {MOST_VALUES} values")
    try:
        value = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"the value nests deeper than {DEEPEST} levels") from None
    rest = [(value, 1)]
    while rest:
        inner, depth = rest.pop()
        if depth > DEEPEST:
            raise ValueError(f"the value nests deeper than {DEEPEST} levels")
        if isinstance(inner, dict):
            rest += [(part, depth + 1) for member in inner.items() for part in member]
        elif isinstance(inner, list):
            rest += [(item, depth + 1) for item in inner]
        elif isinstance(inner, str):
            inner.encode()
            if "\x00" in inner:
                raise ValueError("a string contains the character U+0000")
    return value


def all_storable(texts: Sequence[str]) -> list[Any]:
    """Return the JSON values in `texts`. Raises ValueError as `storable` does, and for more than MOST_VALUES in all."""
    if values_in(texts) > MOST_VALUES:
        raise ValueError(f"the values contain more than {MOST_VALUES} values")
    return [storable(text) for text in texts]


def values_in(texts: Sequence[str]) -> int:
    """Return the number of JSON values in all texts; 0 if it is certainly at most MOST_VALUES, without counting."""
    # A text has at most as many values as characters.
    return sum(count_values(text.encode()) for text in texts) if sum(map(len, texts)) > MOST_VALUES else 0


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a valid JSON number")
    return number
