"""Compares what two releases declare besides their contracts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wire.comparison.differences import Area, Difference, Impact, ReleaseFacts, changed
from wire.documents.declarations import flat

_DECLARED: Final = "It applies to executions of the newer release only, and is no part of the contract."


def declaration_differences(before: ReleaseFacts, after: ReleaseFacts) -> Iterator[Difference]:
    """Yield a difference for each declared value that is not the same in both releases."""
    if before.declarations is None or after.declarations is None or before.declarations == after.declarations:
        return
    olds, news = flat(before.declarations), flat(after.declarations)
    for path in sorted(olds.keys() | news.keys()):
        values = olds.get(path, ""), news.get(path, "")
        if values[0] != values[1]:
            yield changed(Area.POLICY, path, values, _DECLARED, Impact.COMPATIBLE)
