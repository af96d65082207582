"""Answers which exact code ran an execution, from its events, its awaits and its pin, and signs the answer."""

import hashlib
from collections.abc import Iterator
from typing import Any

from django.db.models import Count, Q

from executions.lifecycle import queries
from executions.models import AwaitUnit, Execution, Interaction
from executions.models.states import TERMINAL, State
from releases.models import Release
from releases.trust import trust
from wire.documents import execution_statement as statements
from wire.documents import json_writer
from wire.documents.execution_runs import Event, Runs, instant, runs_of

MOST_AWAITS = 500
"""How many awaits of an execution a statement lists."""
MOST_ANSWERS = 1_000
"""How many answered interactions of each await a statement lists."""
EVENTS_AT_ONCE = 200


def runs(execution: Execution) -> Runs:
    """Return the parts of an execution, as they are recorded so far."""
    release = _release(execution)
    pinned = frozenset(release.artifacts.values_list("digest", flat=True))
    return runs_of(_events(execution), pinned, _step_names(release))


def statement(execution: Execution) -> dict[str, Any]:
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
    return statements.build(facts, pin, runs(execution), _awaits(execution))


def signed(execution: Execution) -> bytes:
    """Return the statement in a DSSE envelope. An execution with the same events gives the same bytes under one key.

    Raises `ProvenanceKeyMissing`.
    """
    return trust.sign_statement(statement(execution))


def file_name(execution: Execution) -> str:
    """Return the name under which the signed document is saved."""
    return f"provenance-{execution.pk}.dsse.json"


def _release(execution: Execution) -> Release:
    return Release.objects.select_related("contract").get(pk=execution.release_id)


def _step_names(release: Release) -> list[str] | None:
    """Return the names of the contract's steps; None if the release has no contract."""
    if release.contract is None:
        return None
    return [str(step.get("authoredName", "")) for step in release.contract.document.get("steps") or []]


def _events(execution: Execution) -> Iterator[Event]:
    columns = ("sequence", "kind", "status", "at", "data")
    for row in queries.events(execution).values_list(*columns).iterator(chunk_size=EVENTS_AT_ONCE):
        yield Event(*row)


def _digest(sha256: str) -> statements.Digest:
    return statements.Digest(sha256=sha256)


def _result_digest(execution: Execution) -> statements.Digest | None:
    return _digest(json_writer.digest(queries.result(execution))) if execution.status == State.SUCCEEDED else None


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
            "interactionId": each.known_as,
            "actor": each.actor,
            "answeredAt": None if each.completed_at is None else instant(each.completed_at),
        }
        for each in rows
    ]
