"""Compares two JSON values and names each place at which they differ. Pure."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from wire.documents import json_writer

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Missing(Enum):
    """Stands for a member or an item that one of the values does not have."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True, slots=True)
class Difference:
    """A place such as `input.items[2].price`, and what each value has there."""

    path: str
    one: Any
    other: Any


def differences(path: str, one: Any, other: Any) -> Iterator[Difference]:
    """Yield the differences between two values, in the order of the first one. Numbers are compared by value.

    Objects and lists are compared member by member, without recursion, so that any depth is possible.
    """
    open_pairs = [(path, one, other)]
    while open_pairs:
        at, left, right = open_pairs.pop()
        if isinstance(left, dict) and isinstance(right, dict):
            keys = [*left, *(key for key in right if key not in left)]
            pairs = [(at + _member(key), left.get(key, MISSING), right.get(key, MISSING)) for key in keys]
            open_pairs.extend(reversed(pairs))
        elif isinstance(left, list) and isinstance(right, list):
            items = [
                (f"{at}[{n}]", left[n] if n < len(left) else MISSING, right[n] if n < len(right) else MISSING)
                for n in range(max(len(left), len(right)))
            ]
            open_pairs.extend(reversed(items))
        elif left is MISSING or right is MISSING or not json_writer.equal(left, right):
            yield Difference(at, left, right)


def _member(key: str) -> str:
    return f".{key}" if _NAME.fullmatch(key) else f"[{json.dumps(key, ensure_ascii=False)}]"
