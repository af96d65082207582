"""Says which other execution carries on the work of an execution, so that no work runs twice without a word: ADR 133.

A resubmission carries on the work of its original while it is due, runs or waits, and after it has succeeded. The rule
is the function `replacement_of` of the database, which the statements of re-drives and resubmissions ask too. They are
decided one after the other under the lock of the work.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection
from django.db.models import Case, Exists, Func, OuterRef, Q, QuerySet, UUIDField, When

from executions.errors import ExecutionReplaced
from executions.lifecycle import statements
from executions.models import Execution, Resubmission
from executions.models.states import State

_STATES: Final[Mapping[str, str]] = {
    State.QUEUED: "is due",
    State.RUNNING: "is running",
    State.WAIT_RETRY: "waits for a retry",
    State.WAITING_EXTERNAL: "waits for an answer",
    State.SUCCEEDED: "has succeeded",
}
_REMOVED: Final = ", which was removed after its retention period"


@dataclass(frozen=True, slots=True)
class Replacement:
    """The execution that carries on the work, its status and release; "" if it was removed after its retention period.

    It is the execution `of` itself if that has succeeded after a failure.
    """

    of: uuid.UUID
    id: uuid.UUID
    status: str
    release_version: str

    def __str__(self) -> str:
        if self.is_itself:
            return "It has failed, and then a re-drive of it has succeeded."
        return f"Its work moved to execution {self.id}{self.state}."

    @property
    def is_itself(self) -> bool:
        return self.id == self.of

    @property
    def state(self) -> str:
        """Say where it runs and what it does, after its id."""
        return f" on release {self.release_version}, which {_STATES[self.status]}" if self.status else _REMOVED

    def refusal(self) -> ExecutionReplaced:
        return ExecutionReplaced(
            f"The work of execution {self.of} would run twice. {self}",
            executionId=str(self.id),
            executionStatus=self.status or None,
            releaseVersion=self.release_version or None,
        )


def replacement(execution_id: uuid.UUID, *, items: bool = False) -> Replacement | None:
    """Return what carries on the work of an execution, or of its failed items with `items`; None if nothing does."""
    with connection.cursor() as cursor:
        cursor.execute(statements.REPLACEMENT, {"id": execution_id, "items": items})
        row = cursor.fetchone()
    return Replacement(execution_id, row[0], row[1] or "", row[2] or "") if row else None


def lock(ids: Collection[uuid.UUID | None]) -> dict[uuid.UUID, set[uuid.UUID]]:
    """Lock the executions and what they were resubmitted from, until the transaction ends.

    Return for each the ids that were locked. Two executions with a common one may have the same work.
    """
    locked = defaultdict[uuid.UUID, set[uuid.UUID]](set)
    with connection.cursor() as cursor:
        cursor.execute(statements.LOCK_WORK, {"ids": [each for each in ids if each is not None]})
        for execution_id, origin in cursor.fetchall():
            locked[execution_id].add(origin)
    return locked


def first_of_each(ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Lock the executions as `lock` does. Return the first one of each group that may have the same work."""
    locked, taken, first = lock(ids), set[uuid.UUID](), set[uuid.UUID]()
    for execution_id in ids:
        if taken.isdisjoint(locked[execution_id]):
            first.add(execution_id)
            taken |= locked[execution_id]
    return first


def replaced_among(ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of these executions whose work another one carries on."""
    return set(replaced(Execution.objects.filter(pk__in=ids)).values_list("pk", flat=True))


def replaced(rows: QuerySet[Execution]) -> QuerySet[Execution]:
    """Return those of `rows` whose work another execution carries on."""
    return _judged(rows).filter(replacement__isnull=False)


def not_replaced(rows: QuerySet[Execution]) -> QuerySet[Execution]:
    """Return the other ones."""
    return _judged(rows).filter(replacement=None)


def _judged(rows: QuerySet[Execution]) -> QuerySet[Any]:
    """The function costs more than a look at the links, which most executions do not have."""
    links = Resubmission.objects.order_by()
    has_relatives = (
        Q(parent_id__isnull=False)
        | Exists(links.filter(execution=OuterRef("pk")))
        | Exists(links.filter(new_execution=OuterRef("pk")))
    )
    return rows.alias(replacement=Case(When(has_relatives, then=replacement_id("pk")), default=None))


def replacement_id(execution: Any) -> Func:
    """Return the id of what carries on the work of an execution, as an expression of a query; null if nothing does."""
    return Func(execution, function="replacement_of", output_field=UUIDField())
