"""Live executions, by release and status."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from django.db import connection

from executions.statistics import statements

MOST_COUNTED: Final = 10_000
"""How many live executions of each release are counted."""


@dataclass(frozen=True, slots=True)
class Live:
    """How many live executions a release has in each status. `more` is True if it has more than MOST_COUNTED.

    Smoke tests do not count.
    """

    statuses: Counter[str]
    more: bool

    @property
    def total(self) -> int:
        return self.statuses.total()


def live(tenants: Collection[int]) -> dict[int, Live]:
    """Return the live executions by the id of the release, for releases that have any."""
    found: dict[int, Counter[str]] = {}
    with connection.cursor() as cursor:
        cursor.execute(statements.LIVE, {"tenants": list(tenants), "most": MOST_COUNTED + 1})
        for release_id, status, count in cursor.fetchall():
            found.setdefault(release_id, Counter())[status] = count
    return {pk: Live(statuses, statuses.total() > MOST_COUNTED) for pk, statuses in found.items()}
