"""The outcome of the executions that a campaign ran again."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass

from django.db import connection

from executions.campaigns import statements


@dataclass(frozen=True, slots=True)
class Results:
    """How many executions that a campaign re-drove or resubmitted have each status now.

    `running` counts those that are due or running, `waiting` those that wait for an answer. `removed` counts those that
    retention has removed since. `unaccepted` counts those that failed again and that no resume has accepted.
    """

    running: int = 0
    waiting: int = 0
    succeeded: int = 0
    failed_again: int = 0
    cancelled: int = 0
    removed: int = 0
    unaccepted: int = 0

    @property
    def total(self) -> int:
        return self.running + self.waiting + self.succeeded + self.failed_again + self.cancelled + self.removed


def results(campaign_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Results]:
    """Return the results of each campaign."""
    with connection.cursor() as cursor:
        cursor.execute(statements.RESULTS, [list(campaign_ids)])
        found = {campaign_id: Results(*counts) for campaign_id, *counts in cursor.fetchall()}
    return {campaign_id: found.get(campaign_id, Results()) for campaign_id in campaign_ids}


def results_of(campaign_id: uuid.UUID) -> Results:
    return results([campaign_id])[campaign_id]
