"""The one way in which a row changes state: a guarded UPDATE whose row count is checked.

The guard names the states that the row must still be in. Zero rows means that somebody else moved it first; the
caller decides what that is worth, but never writes over it.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from django.db import models

S = TypeVar("S", bound=StrEnum)


def sources(moves: Mapping[S, Collection[S]], target: S) -> list[S]:
    """The states from which a move to `target` is legal."""
    return [state for state, targets in moves.items() if target in targets]


def move(rows: models.QuerySet[Any], moves: Mapping[S, Collection[S]], source: S, target: S, **changes: Any) -> bool:
    """Move the one row that `rows` names from `source` to `target`, with `changes`. False: it was not in `source`.

    Raises ValueError for a move that the table does not have, which is a mistake of the program and not of its user.
    """
    if target not in moves[source]:
        raise ValueError(f"There is no move from {source} to {target}.")
    return rows.filter(status=source).update(status=target, **changes) == 1
