"""Recent terminal failures, by release and error code."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from django.db import connection

from executions.statistics import statements

MOST_READ: Final = 10_001
"""How many of the newest failures of each tenant are read."""


@dataclass(slots=True)
class Failures:
    """The failures of one release. `codes` has the error codes of the last hour, the most frequent first."""

    last_day: int = 0
    last_hour: int = 0
    codes: list[tuple[str, int]] = field(default_factory=list)


def recent(tenants: Collection[int]) -> dict[int, Failures]:
    """Return the failures of the last day by the id of the release. Smoke tests do not count."""
    found: dict[int, Failures] = {}
    with connection.cursor() as cursor:
        cursor.execute(statements.FAILURES, {"tenants": list(tenants), "most": MOST_READ})
        for release_id, code, day, hour in cursor.fetchall():
            failures = found.setdefault(release_id, Failures())
            failures.last_day += day
            failures.last_hour += hour
            if hour:
                failures.codes.append((code, hour))
    return found
