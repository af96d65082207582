"""When two JSON values are equal, and a digest that is equal exactly then. Pure.

Strings are equal if their characters are. Objects are equal if they have equal members, in any order. Numbers are equal
if their decimal values are, however they are written: 1 = 1.0 = 1e0 and 0 = -0.0. A number with a fraction or an
exponent is read as a double and has the value of the shortest decimal that reads back as that double. So 1e23 equals
the integer 100000000000000000000000. This is how PostgreSQL compares what it stores as jsonb. `true` is no number.

Nothing here changes a value. What the caller sent is stored and passed on with its numbers as they are.
"""

import hashlib
import json
from decimal import Decimal
from typing import Any


def canonical(value: Any) -> str:
    """Return a JSON text that is the same for equal values and differs for others. It serves for comparison only.

    Raises ValueError for a number that is not finite.
    """
    text = _text(value)
    # Every double without a fraction is written in one of these ways. Looking for them is far cheaper than a walk.
    return _text(_with_integers(value)) if ".0" in text or "e+" in text else text


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical text, in lower-case hex."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


def equal(one: Any, other: Any) -> bool:
    return canonical(one) == canonical(other)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _with_integers(value: Any) -> Any:
    """Return `value` with an integer for every double that has no fraction."""
    if isinstance(value, float):
        # The shortest decimal, not the binary value: that is what JSON texts and PostgreSQL have.
        return int(Decimal(repr(value))) if value.is_integer() else value
    if isinstance(value, dict):
        members = {}
        # Loops and not comprehensions: those take two of the interpreter's frames for each level.
        for name, member in value.items():
            members[name] = _with_integers(member)
        return members
    if isinstance(value, list | tuple):
        items = []
        for item in value:
            items.append(_with_integers(item))
        return items
    return value
