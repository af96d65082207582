"""Removes executions that finished longer ago than their tenant's retention term, each with its whole history.

Tenants take turns, one batch each, in an order that each removal draws by lot. So no backlog makes others wait. Each
bounded batch is one transaction, so that a killed process leaves every execution whole or removed. Processes that
remove at the same time skip each other's rows. Guards in the database reject the removal of any other execution.
Between two batches a process pauses, so that submissions and outcomes find the database and its disk free.
"""

import logging
import random
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from executions.lifecycle import statements
from executions.models import Execution
from executions.models.states import State
from foundation.database.bounded import counts_up_to
from foundation.database.postgresql.outage import is_outage
from tenancy.models import Tenant

log = logging.getLogger(__name__)
MOST_COUNTED = 10_000
"""The most executions that are counted for removal; a larger number is shown as "more"."""
MOST_INTERACTIONS = 20_000
"""A batch takes no further execution once it has this many questions."""
DUTY = 0.2
"""The largest share of the time that a removal may work. After each batch it pauses for the rest."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Executions with one retention term: the term's column on the tenant, and the terminal states that it covers."""

    name: str
    term: str
    states: tuple[State, State]


SUCCEEDED = Kind("succeeded or were cancelled", "retention_days", (State.SUCCEEDED, State.CANCELLED))
FAILED = Kind("failed", "failed_retention_days", (State.DLQ, State.FAILED))
KINDS = (SUCCEEDED, FAILED)

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def remove(*, seconds: float) -> int:
    """Remove executions that are older than their tenant's term, until none is left or `seconds` have passed.

    At least one batch is removed. Returns how many executions were removed. If the database rejects a removal, the
    error is logged, and executions of other tenants are still removed.
    """
    deadline = time.monotonic() + seconds
    turns = deque((tenant, kind, _BEGINNING) for tenant, kind in _terms())
    random.shuffle(turns)
    removed: Counter[tuple[Tenant, Kind]] = Counter()
    while turns and (not removed or time.monotonic() < deadline):
        tenant, kind, since = turns.popleft()
        began = time.monotonic()
        count, since = _batch_or_none(tenant, kind, since)
        if count:
            removed[tenant, kind] += count
            turns.append((tenant, kind, since))
            worked = time.monotonic() - began
            time.sleep(max(0.0, min(worked * (1 / DUTY - 1), deadline - time.monotonic())))
    for (tenant, kind), count in removed.items():
        log.info("removed %d executions of %s that %s long ago", count, tenant, kind.name)
    return removed.total()


def _batch_or_none(tenant: Tenant, kind: Kind, since: datetime) -> tuple[int, datetime]:
    try:
        return _batch(tenant, kind, since)
    except DatabaseError as error:
        if is_outage(error):
            raise
        log.exception("Executions of %s that %s could not be removed", tenant, kind.name)
        return 0, since


def over_for(tenant: Tenant, kind: Kind, terms: Iterable[int]) -> list[int]:
    """Return how many executions each term, in days, would remove now, at most MOST_COUNTED + 1. Makes one query."""
    now, over = timezone.now(), Execution.objects.filter(tenant=tenant, status__in=kind.states)
    return counts_up_to(MOST_COUNTED, (over.filter(finished_at__lte=now - timedelta(days=days)) for days in terms))


def removed_next() -> list[tuple[Tenant, Kind, int]]:
    """Return what `remove` would remove: each tenant and kind with a term, and the number of executions."""
    return [(tenant, kind, over_for(tenant, kind, [getattr(tenant, kind.term)])[0]) for tenant, kind in _terms()]


def _terms() -> Iterator[tuple[Tenant, Kind]]:
    for tenant in Tenant.objects.filter(~Q(retention_days=None) | ~Q(failed_retention_days=None)).order_by("pk"):
        yield from ((tenant, kind) for kind in KINDS if getattr(tenant, kind.term) is not None)


def _batch(tenant: Tenant, kind: Kind, since: datetime) -> tuple[int, datetime]:
    """Remove one batch. Return its size, and the latest finish time among the chosen executions.

    The next batch starts there, so that it does not read removed rows.
    """
    # The states are literals, because otherwise the planner does not use the partial index.
    query = statements.CHOOSE_OLD.format(states=", ".join(f"'{state}'" for state in kind.states))
    chosen: dict[str, Any] = {
        "tenant": tenant.pk,
        "days": getattr(tenant, kind.term),
        "since": since,
        "limit": settings.SWEEP_LIMIT,
        "most": MOST_INTERACTIONS,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.LOCK_REMOVALS, chosen)
        if cursor.fetchone() == (False,):
            return 0, since
        cursor.execute(query, chosen)
        removed = cursor.fetchall()
        if not removed:
            return 0, since
        cursor.execute(statements.REMOVE, [[execution_id for execution_id, _ in removed]])
        return cursor.rowcount, removed[-1][1]
