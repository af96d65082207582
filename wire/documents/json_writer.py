"""Compact JSON: as the wire protocol hashes it, and in one order of members for comparing and signing. Pure."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def compact(value: Any) -> bytes:
    """Return the UTF-8 bytes of `value` as the wire protocol hashes them (A.1.5).

    They contain no spaces. Members keep their order. Non-ASCII characters are literal except U+2028 and U+2029. Raises
    ValueError for a number that is not finite and UnicodeEncodeError for a lone surrogate.
    """
    written = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return written.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of `compact(value)` in lower-case hex."""
    return hashlib.sha256(compact(value)).hexdigest()


def in_key_order(value: Any) -> Any:
    """Return `value` with the keys of every object sorted by UTF-16 code units, as the protocol's generator does."""
    if isinstance(value, Mapping):
        return {key: in_key_order(value[key]) for key in sorted(value, key=_code_units)}
    if isinstance(value, list | tuple):
        return [in_key_order(item) for item in value]
    return value


def text(value: Any) -> str:
    """Return `value` as JSON text without spaces. Members keep their order, and all characters are literal."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def sorted_text(value: Any) -> str:
    """Return `value` as compact JSON text with the keys of every object sorted by code points.

    Raises ValueError for a number that is not finite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def same_json(one: Any, other: Any) -> bool:
    """Return True if both values are the same JSON. Unlike `==`, it tells `false` from 0 and 1 from 1.0."""
    return bool(one == other) and sorted_text(one) == sorted_text(other)


def _code_units(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")
