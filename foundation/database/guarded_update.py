"""Changes the state of a row with a guarded UPDATE, and checks the number of updated rows.

The guard names the state that the row must still have. Zero rows mean that another process changed the state first.
The caller decides what to do then, but never overwrites the other change.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from django.db import models

S = TypeVar("S", bound=StrEnum)


def sources(moves: Mapping[S, Collection[S]], target: S) -> list[S]:
    """Return the states from which a move to `target` is legal."""
    return [state for state, targets in moves.items() if target in targets]


def move(rows: models.QuerySet[Any], moves: Mapping[S, Collection[S]], source: S, target: S, **changes: Any) -> bool:
    """Move the row in `rows` from `source` to `target`, with `changes`. Return False if its state is not `source`.

    Raises ValueError for a move that `moves` does not contain, which is an error of the program.
    """
    if target not in moves[source]:
        raise ValueError(f"There is no move from {source} to {target}.")
    return rows.filter(status=source).update(status=target, **changes) == 1
