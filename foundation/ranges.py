"""Byte ranges and preconditions of a GET (RFC 9110, sections 13 and 14). Pure."""

import re
from collections.abc import Mapping
from typing import Final

from foundation.errors import PreconditionFailed, RangeNotSatisfiable

_RANGE: Final = re.compile(r"bytes=[ \t]*(?:(\d+)-(\d*)|-(\d+))[ \t]*", re.IGNORECASE | re.ASCII)
_MOST_DIGITS: Final = 18
"""Numbers with more digits are beyond the end of any file."""
_TAG: Final = re.compile(r'[ \t]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|\Z)')


def requested_range(headers: Mapping[str, str], size: int, etag: str) -> range | None:
    """Return the positions of the bytes that a GET asks for; None for all of them.

    `size` is the size of the whole representation in bytes, and `etag` its strong entity tag, with the quotes. Only a
    single range is honoured. Everything else that the header may contain asks for the whole representation: several
    ranges, other units, malformed ranges, and an `If-Range` with another tag or with a date.

    Raises `RangeNotSatisfiable` if no byte of the representation is in the range.
    """
    wanted = _RANGE.fullmatch(headers.get("Range", ""))
    if wanted is None or headers.get("If-Range", etag).strip() != etag:
        return None
    first, last, suffix = wanted.groups()
    if suffix is not None:
        start, stop = max(size - _number(suffix), 0), size
    else:
        start, stop = _number(first), min(_number(last) + 1, size) if last else size
        if last and _number(last) < start:
            return None
    if start >= stop:
        raise RangeNotSatisfiable(f"The range is outside of the {size} bytes.", size=size)
    return range(start, stop)


def is_unchanged(headers: Mapping[str, str], etag: str) -> bool:
    """Return True if the client has the representation already, so that the response is 304.

    Raises `PreconditionFailed` if the client wants only another representation, by `If-Match`.
    """
    wanted = headers.get("If-Match")
    if wanted is not None and wanted.strip() != "*" and etag not in _tags(wanted):
        raise PreconditionFailed("The entity tag is not one of those in If-Match.")
    known = headers.get("If-None-Match")
    if known is None:
        return False
    return known.strip() == "*" or etag in {tag.removeprefix("W/") for tag in _tags(known)}


def _tags(text: str) -> list[str]:
    return _TAG.findall(text)


def _number(digits: str) -> int:
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _MOST_DIGITS else 10**_MOST_DIGITS
