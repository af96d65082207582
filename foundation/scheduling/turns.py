"""Schedules work in turns, so that each tenant gets a fair share (ADR 33).

The next row is chosen from the due rows and not by the order of messages. A tenant with a hundred due rows gets its
next turn only after every other tenant with due rows has had one.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from django.db import connection

from foundation.scheduling.places import Places


@dataclass
class Turns:
    """Turns for one kind of work in this process, each in one of `places`.

    `statement` claims the oldest due row of the tenant whose last turn is longest ago, except for tenants in `full`.
    It returns the row's id, the tenant's id, and False if another process claimed the row first.
    """

    statement: str
    parameters: Mapping[str, Any]
    places: Places

    def take(self, *, crowded: Callable[[], object] = lambda: None) -> AbstractContextManager[Any]:
        """Claim the next row and yield its id. Yield None if no row is due or has a place; see `Places.take`."""
        return self.places.take(self._claim, crowded=crowded)

    def _claim(self, full: list[int]) -> tuple[Any, int] | None:
        while True:
            with connection.cursor() as cursor:
                cursor.execute(self.statement, {**self.parameters, "full": full})
                row: tuple[Any, int, bool] | None = cursor.fetchone()
            if row is None or row[2]:
                return row and row[:2]
