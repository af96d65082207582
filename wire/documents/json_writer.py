"""Writes compact JSON, whose bytes are hashed, and defines equality of JSON values. Pure.

Strings are equal if their characters are. Objects are equal if they have equal members, in any order. Numbers are equal
if their decimal values are, in any notation: 1 = 1.0 = 1e0 and 0 = -0.0. A number with a fraction or an exponent is
parsed as a double. Its value is the shortest decimal that parses back to that double. So 1e23 equals the integer
100000000000000000000000. PostgreSQL compares jsonb values in the same way. `true` is not a number.

No function here changes a value. The caller's value is stored and passed on with its numbers unchanged.
"""

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

# A call of `json.dumps` with options makes an encoder, which takes as long as writing a small value.
_compact_text = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_finite_text = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_sorted_text = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def compact(value: Any) -> bytes:
    """Return the UTF-8 bytes of `value`, as contracts and types are hashed.

    They contain no spaces. Members keep their order. Non-ASCII characters are literal except U+2028 and U+2029. Raises
    ValueError for a number that is not finite and UnicodeEncodeError for a lone surrogate.
    """
    written = _finite_text(value)
    return written.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of `compact(value)` in lower-case hex."""
    return hashlib.sha256(compact(value)).hexdigest()


def in_key_order(value: Any) -> Any:
    """Return `value` with the keys of every object sorted by UTF-16 code units, as the protocol's generator does."""
    if isinstance(value, Mapping):
        ordered = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return {key: in_key_order(value[key]) for key in ordered}
    if isinstance(value, list | tuple):
        return [in_key_order(item) for item in value]
    return value


def text(value: Any) -> str:
    """Return `value` as JSON text without spaces. Members keep their order, and all characters are literal."""
    return _compact_text(value)


def sorted_text(value: Any) -> str:
    """Return `value` as compact JSON text with the keys of every object sorted by code points.

    Raises ValueError for a number that is not finite.
    """
    return _sorted_text(value)


def same_json(one: Any, other: Any) -> bool:
    """Return True if both values are the same JSON. Unlike `==`, it tells `false` from 0 and 1 from 1.0."""
    return bool(one == other) and sorted_text(one) == sorted_text(other)


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
