"""JSON texts that come from workers, and what of them the database can keep. Pure."""

import json
import math
from collections.abc import Sequence
from typing import Any

from wire.documents.json_reader import count_values, holds_more_values

DEEPEST = 500
MOST_VALUES = 500_000


def storable(text: str) -> Any:
    """The JSON value in `text`. Raises ValueError for what cannot be kept as jsonb: NUL, lone surrogates, numbers that
    are not finite, more than MOST_VALUES values, and nesting deeper than DEEPEST.
    """
    if holds_more_values(text.encode(), MOST_VALUES):
        raise ValueError(f"the value holds more than {MOST_VALUES} values")
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
                raise ValueError("a string holds the character U+0000")
    return value


def all_storable(texts: Sequence[str]) -> list[Any]:
    """Return the JSON values in `texts`. Raises ValueError as `storable` does, and for more than MOST_VALUES in all."""
    # A text has at most as many values as characters, so most texts need not be counted.
    if sum(map(len, texts)) > MOST_VALUES and sum(count_values(text.encode()) for text in texts) > MOST_VALUES:
        raise ValueError(f"the values hold more than {MOST_VALUES} values")
    return [storable(text) for text in texts]


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number that JSON can carry")
    return number
