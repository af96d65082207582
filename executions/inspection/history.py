"""Reads the history of an execution, and derives its timeline."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from executions.inspection.timeline import Await, Kind, Pause, Row, timeline
from executions.models import AwaitUnit, Execution, Hold, Interaction
from releases.step_names import step_names
from wire.documents.execution_runs import Event

MOST_EVENTS = 2_000
MOST_AWAITS = 200
MOST_ANSWERS = 500
"""Those who answered an await of more items are not named."""
NAMED = 3
"""How many of those who answered an await are named."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event, and who caused it."""

    event: Event
    actor: str


def recorded(execution: Execution) -> list[Recorded]:
    """Return the newest MOST_EVENTS events of an execution, the first one first."""
    columns = ("sequence", "kind", "status", "at", "data", "actor")
    newest = execution.events.order_by("-sequence").values_list(*columns)[:MOST_EVENTS]
    return [Recorded(Event(*row[:-1]), row[-1]) for row in reversed(newest)]


def rows_of(execution: Execution, now: datetime, events: Sequence[Recorded] | None = None) -> list[Row]:
    """Return the timeline of an execution. `events` are those of `recorded`, if they have been read."""
    known = [entry.event for entry in (recorded(execution) if events is None else events)]
    names = step_names(execution.release_id, execution.contract_version)
    awaits, pauses = _awaits(execution), _pauses(execution)
    return timeline(names, known, awaits, pauses, now=now, running_since=execution.running_since)


def worked(row: Row) -> timedelta | None:
    """Return how long a step ran, in all attempts; None if that is not known."""
    known = [
        bar.end - bar.start for bar in row.bars if bar.kind in (Kind.WORK, Kind.FAILED) and bar.last == row.step.index
    ]
    return sum(known, timedelta()) if known else None


def _awaits(execution: Execution) -> list[Await]:
    units = list(AwaitUnit.objects.filter(execution=execution).order_by("-created_at", "-id")[:MOST_AWAITS])
    actors: dict[Any, list[str]] = defaultdict(list)
    few = [unit.pk for unit in units if unit.answered_items > 0 and unit.expected_items <= MOST_ANSWERS]
    answers = Interaction.objects.filter(unit__in=few, status=Interaction.Status.COMPLETED)
    for unit_id, actor in answers.order_by("unit", "item_index").values_list("unit", "actor")[:MOST_ANSWERS]:
        if actor not in actors[unit_id]:
            actors[unit_id].append(str(actor))
    return [
        Await(
            unit.step_index,
            unit.created_at,
            None if unit.status == AwaitUnit.Status.WAITING_EXTERNAL else unit.updated_at,
            unit.expected_items,
            unit.answered_items,
            _named(actors[unit.pk]),
        )
        for unit in units
    ]


def _named(actors: Sequence[str]) -> list[str]:
    return [*actors[:NAMED], *(["others"] if len(actors) > NAMED else [])]


def _pauses(execution: Execution) -> list[Pause]:
    """Return the pauses of the execution, and the open ones of its release and its pipeline.

    No index leads to pauses of a release that have ended, so those are not drawn.
    """
    release = execution.release
    open_ones = Q(release=release, ended_at=None) | Q(pipeline=release.pipeline_id, ended_at=None)
    holds_of_execution = Hold.objects.filter(execution=execution).order_by("started_at", "id")[:MOST_AWAITS]
    names = {True: "The execution", False: "Its release or its pipeline"}
    return [
        Pause(names[hold.execution_id is not None], hold.started_by, hold.started_at, hold.ended_at)
        for hold in [*holds_of_execution, *Hold.objects.filter(open_ones)]
    ]
