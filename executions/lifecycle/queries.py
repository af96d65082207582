"""Reads executions, their history, and which code ran them. The caller has checked access to the tenant."""

import hashlib
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, When

from executions.errors import ExecutionUnfinished, ExecutionUnknown
from executions.lifecycle.item_groups import ItemProgress, progress
from executions.models import (
    PAYLOADS,
    AwaitUnit,
    DeadLetter,
    Execution,
    ExecutionEvent,
    Interaction,
    ItemGroup,
    Resubmission,
)
from executions.models.states import TERMINAL, State
from foundation.database.compiled import Compiled
from releases import evidence
from releases.models import Release
from releases.step_names import step_names
from releases.trust import trust
from tenancy.audit.people import person_behind
from tenancy.models import Tenant
from wire.documents import execution_statement as statements
from wire.documents import json_writer
from wire.documents.execution_runs import Event, Runs, instant, runs_of

LINKS_SHOWN = 20
ENDED = "SELECT id FROM executions_execution WHERE id = ANY(%(ids)s) AND status = ANY(%(terminal)s)"
UNFINISHED_RETRY_SECONDS = 1
LONGER = """
SELECT e.id, e.event_count FROM unnest(%(ids)s::uuid[], %(counts)s::int[]) AS seen(id, count)
JOIN executions_execution e ON e.id = seen.id WHERE e.event_count > seen.count
"""
EVENT_PAYLOADS = frozenset({"errorMessage", "traceback"})


def executions(tenant: Tenant) -> QuerySet[Execution]:
    """Return the tenant's executions, newest first, without their inputs and results."""
    return Execution.objects.filter(tenant=tenant).select_related("tenant").defer("input", "result")


def execution(tenant: Tenant, execution_id: uuid.UUID) -> Execution:
    """Return one execution of the tenant. Raises `ExecutionUnknown`."""
    return _one(_EXECUTION, tenant, execution_id)


def finished(tenant: Tenant, execution_id: uuid.UUID) -> Execution:
    """Return one execution of the tenant that has ended. Raises `ExecutionUnknown` and `ExecutionUnfinished`."""
    current = execution(tenant, execution_id)
    if current.status not in TERMINAL:
        raise ExecutionUnfinished(
            f"The execution is {current.status}. Repeat the request with ?wait=30 to wait for its end.",
            executionStatus=current.status,
            retryAfter=UNFINISHED_RETRY_SECONDS,
        )
    return current


def state(tenant: Tenant, execution_id: uuid.UUID) -> Execution:
    """Return one execution of the tenant, without its payloads. Raises `ExecutionUnknown`."""
    return _one(_STATE, tenant, execution_id)


def _one(query: Compiled[Execution], tenant: Tenant, execution_id: uuid.UUID) -> Execution:
    execution = query.first(tenant=tenant.pk, pk=execution_id)
    if execution is None:
        raise ExecutionUnknown(f"There is no execution {execution_id}.")
    execution.tenant = tenant
    return execution


def _of_tenant(tenant: int, pk: uuid.UUID) -> QuerySet[Execution]:
    return Execution.objects.filter(tenant_id=tenant, pk=pk).order_by()


def _state_of_tenant(tenant: int, pk: uuid.UUID) -> QuerySet[Execution]:
    """Most executions have no links, so the statement also tells for which ones to read them."""
    rows = _of_tenant(tenant, pk).defer(*PAYLOADS)
    return rows.annotate(  # type: ignore[no-redef]  # their types and defaults
        has_origin=Exists(Resubmission.objects.filter(new_execution=OuterRef("pk"))),
        has_links=Exists(Resubmission.objects.filter(execution=OuterRef("pk"))),
        has_items=Case(
            When(checkpoints=True, then=Exists(ItemGroup.objects.filter(execution=OuterRef("pk")))), default=False
        ),
    )


_NO_ID = uuid.UUID(int=0)
_EXECUTION = Compiled(_of_tenant, tenant=-1, pk=_NO_ID)
_STATE = Compiled(_state_of_tenant, tenant=-1, pk=_NO_ID)


def ended(ids: Collection[uuid.UUID]) -> list[uuid.UUID]:
    """Return those of the executions that have ended. Reads one table with one statement."""
    with connection.cursor() as cursor:
        cursor.execute(ENDED, {"ids": list(ids), "terminal": [state.value for state in TERMINAL]})
        return [execution_id for (execution_id,) in cursor.fetchall()]


def longer(counts: Mapping[uuid.UUID, int]) -> dict[uuid.UUID, int]:
    """Return how many events those of the executions have that have more than `counts`. Reads only their rows."""
    with connection.cursor() as cursor:
        cursor.execute(LONGER, {"ids": list(counts), "counts": list(counts.values())})
        return dict(cursor.fetchall())


def items(execution: Execution) -> ItemProgress | None:
    """Return how many items of the current step are done; None if none is stored. Most executions need no statement."""
    return progress(execution.pk) if execution.checkpoints and execution.has_items else None


def events(execution: Execution) -> QuerySet[ExecutionEvent]:
    """Return the events of an execution, the first one first."""
    return execution.events.order_by("sequence")


def without_payloads(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the details of an event without the message and the traceback of an error, which are payloads."""
    return {name: value for name, value in data.items() if name not in EVENT_PAYLOADS}


def result(execution: Execution) -> Any:
    """Return the one value of a SINGLE result, or the list of a MATERIALIZED_MULTI result; None unless it succeeded."""
    if execution.result is None or execution.result_shape == "MATERIALIZED_MULTI":
        return execution.result
    return execution.result[0] if execution.result else None


def traceback(execution: Execution) -> str:
    """Return the traceback of the error that the execution shows; empty if the worker reported none."""
    if execution.error_code is None:
        return ""
    data = (
        execution.events.filter(data__errorCode=execution.error_code)
        .order_by("-sequence")
        .values_list("data", flat=True)
        .first()
    )
    return str((data or {}).get("traceback", ""))


def traceback_of(letter: DeadLetter) -> str:
    """Return the traceback of the failure that a dead letter records; empty if the worker reported none.

    The event has the time at which the transaction of both began, and the letter a later one.
    """
    events = letter.execution.events.filter(at__lte=letter.created_at, status=letter.terminal_status)
    data = events.order_by("-sequence").values_list("data", flat=True).first()
    return str((data or {}).get("traceback", ""))


@dataclass(frozen=True, slots=True)
class Link:
    """A link to a new execution, and its status and release; "" if it was removed after its retention period."""

    resubmission: Resubmission
    status: str = ""
    release_version: str = ""


def links(execution: Execution) -> list[Link]:
    """Return the newest links to new executions that resubmit this one, at most LINKS_SHOWN."""
    rows = _LINKS.rows(pk=execution.pk) if execution.has_links else []
    if not rows:
        return []
    linked = Execution.objects.filter(pk__in=[row.pk for row in rows])
    states = {pk: (status, release) for pk, status, release in linked.values_list("pk", "status", "release_version")}
    return [Link(row, *states.get(row.pk, ())) for row in rows]


def origin(execution: Execution) -> Resubmission | None:
    """Return the link to the execution that this one resubmits. None for other executions, or if it was removed."""
    return _ORIGIN.first(pk=execution.pk) if execution.has_origin else None


_LINKS = Compiled(lambda pk: Resubmission.objects.filter(execution=pk)[:LINKS_SHOWN], pk=_NO_ID)
_ORIGIN = Compiled(lambda pk: Resubmission.objects.filter(new_execution=pk).order_by(), pk=_NO_ID)


MOST_AWAITS = 500
"""How many awaits of an execution a statement lists."""
MOST_ANSWERS = 1_000
"""How many answered questions of each await a statement lists."""
EVENTS_AT_ONCE = 200


def runs_of_execution(execution: Execution) -> Runs:
    """Return the parts of an execution, as they are recorded so far."""
    release = _release(execution)
    pinned = frozenset(release.artifacts.values_list("digest", flat=True))
    return runs_of(_events(execution), pinned, list(step_names(release.pk, release.contract_version)) or None)


def provenance_statement(execution: Execution) -> dict[str, Any]:
    """Return the unsigned statement. It changes only when the execution gets another event."""
    release = _release(execution)
    finished = execution.finished_at if State(execution.status) in TERMINAL else None
    facts = statements.AboutExecution(
        execution_id=str(execution.pk),
        tenant=execution.tenant.slug,
        idempotency_key_digest=_digest(hashlib.sha256(execution.execution_key.encode()).hexdigest()),
        status=execution.status,
        finished=finished is not None,
        event_count=execution.event_count,
        submitted_at=instant(execution.created_at),
        finished_at=None if finished is None else instant(finished),
        input_digest=_digest(execution.input_digest),
        result_digest=_result_digest(execution),
    )
    artifacts = release.artifacts.order_by("position").values_list("artifact_id", "digest")
    pin = statements.AboutPin(
        pipeline_id=execution.pipeline_id,
        contract_version=execution.contract_version,
        release_version=execution.release_version,
        release_digest=_digest(json_writer.digest(release.descriptor)),
        artifacts=tuple(statements.PinnedArtifact(artifact_id=name, digest=digest) for name, digest in artifacts),
    )
    runs, awaits, submitter = runs_of_execution(execution), _awaits(execution), submitter_of(execution)
    return statements.build(facts, pin, runs, awaits, submitter, activation_for(execution))


def activation_for(execution: Execution) -> statements.Activation | None:
    """Return the activation that made the release of an execution available to it; None if it needed none."""
    return evidence.activation_for(execution.release, execution.tenant, execution.created_at, smoke=execution.smoke)


def submitter_of(execution: Execution) -> statements.Acted:
    """Return who submitted an execution, in at most one statement."""
    person = person_behind(execution.tenant, execution.submitted_by, execution.created_at)
    return statements.Acted(actor=execution.submitted_by, person=person)


def signed_provenance(execution: Execution) -> bytes:
    """Return the statement in a DSSE envelope. An execution with the same events gives the same bytes under one key.

    Raises `ProvenanceKeyMissing`.
    """
    return trust.sign_statement(provenance_statement(execution))


def provenance_file_name(execution: Execution) -> str:
    """Return the name under which the signed document is saved."""
    return f"provenance-{execution.pk}.dsse.json"


def _release(execution: Execution) -> Release:
    return Release.objects.get(pk=execution.release_id)


def _events(execution: Execution) -> Iterator[Event]:
    columns = ("sequence", "kind", "status", "at", "data")
    for row in events(execution).values_list(*columns).iterator(chunk_size=EVENTS_AT_ONCE):
        yield Event(*row)


def _digest(sha256: str) -> statements.Digest:
    return statements.Digest(sha256=sha256)


def _result_digest(execution: Execution) -> statements.Digest | None:
    return _digest(json_writer.digest(result(execution))) if execution.status == State.SUCCEEDED else None


def _awaits(execution: Execution) -> list[dict[str, Any]]:
    """Return the awaits of an execution, with those who answered. No question and no answer is contained."""
    units = AwaitUnit.objects.filter(execution=execution).order_by("created_at", "id")
    completed = Count("interactions", filter=Q(interactions__status=Interaction.Status.COMPLETED))
    return [
        {
            "stepIndex": unit.step_index,
            "stepId": unit.step_id,
            "status": unit.status,
            "openedAt": instant(unit.created_at),
            "items": unit.expected_items,
            "answered": unit.answered_count,
            "answers": _answers(unit),
        }
        for unit in units.annotate(answered_count=completed)[:MOST_AWAITS]
    ]


def _answers(unit: AwaitUnit) -> list[dict[str, Any]]:
    answered = unit.interactions.filter(status=Interaction.Status.COMPLETED).order_by("item_index", "id")
    rows = answered.only("id", "worker_name", "actor", "completed_at", "unit")[:MOST_ANSWERS]
    return [
        {
            "interactionId": answer.known_as,
            "actor": answer.actor,
            "answeredAt": None if answer.completed_at is None else instant(answer.completed_at),
        }
        for answer in rows
    ]
