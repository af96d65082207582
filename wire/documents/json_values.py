"""Defines equality of JSON values, and a digest that is equal exactly for equal values. Pure.

Strings are equal if their characters are. Objects are equal if they have equal members, in any order. Numbers are equal
if their decimal values are, in any notation: 1 = 1.0 = 1e0 and 0 = -0.0. A number with a fraction or an exponent is
parsed as a double. Its value is the shortest decimal that parses back to that double. So 1e23 equals the integer
100000000000000000000000. PostgreSQL compares jsonb values in the same way. `true` is not a number.

No function here changes a value. The caller's value is stored and passed on with its numbers unchanged.
"""

import hashlib
from decimal import Decimal
from typing import Any

from wire.documents.json_writer import sorted_text


def canonical(value: Any) -> str:
    """Return a JSON text that is the same for equal values and differs for others. It serves for comparison only.

    Raises ValueError for a number that is not finite.
    """
    text = sorted_text(value)
    # Every double without a fraction contains one of these. Searching the text is far cheaper than walking the value.
    return sorted_text(_with_integers(value)) if ".0" in text or "e+" in text else text


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical text, in lower-case hex."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


def equal(one: Any, other: Any) -> bool:
    return canonical(one) == canonical(other)


def _with_integers(value: Any) -> Any:
    """Return `value` with an integer for every double that has no fraction."""
    if isinstance(value, float):
        # The shortest decimal, not the binary value: JSON texts and PostgreSQL use it too.
        return int(Decimal(repr(value))) if value.is_integer() else value
    if isinstance(value, dict):
        members = {}
        # Loops, because a comprehension needs two interpreter frames for each level.
        for name, member in value.items():
            members[name] = _with_integers(member)
        return members
    if isinstance(value, list | tuple):
        items = []
        for item in value:
            items.append(_with_integers(item))
        return items
    return value
