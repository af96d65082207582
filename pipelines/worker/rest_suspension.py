"""Builds the suspension that a worker over HTTP reports (wire protocol F.1)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from pipelines.authoring.plan import PlannedStep
from pipelines.worker.runner import Suspended
from wire.documents.contract import TIMER
from wire.messages.rest_messages import (
    TransitionCommand,
    WireInteraction,
    WireSuspension,
    WireUnit,
    name_uuid,
)

DAY_SECONDS = 86_400


def suspension_of(command: TransitionCommand, suspended: Suspended) -> WireSuspension:
    """Return the unit and the interactions of the await at which a command stopped."""
    waits = suspended.step.waits
    if waits is None:
        raise TypeError(f"step {suspended.step.name} is not an await")
    unit_id = name_uuid(command.tenant_id, command.execution_id, waits.step_id, suspended.step_index)
    now = int(datetime.now(UTC).timestamp() * 1000)
    places = range(len(suspended.requests)) if suspended.itemized else [None]
    interactions = [
        _interaction(command, suspended, unit_id, place, request, now)
        for place, request in zip(places, suspended.requests, strict=True)
    ]
    unit = WireUnit(
        tenant_id=command.tenant_id,
        unit_id=unit_id,
        execution_id=command.execution_id,
        step_id=waits.step_id,
        step_index=suspended.step_index,
        cardinality=str(suspended.step.cardinality),
        version=1,
        status="WAITING_EXTERNAL",
        primary_interaction_id=None if suspended.itemized else interactions[0].interaction_id,
        expected_item_count=len(interactions) if suspended.itemized else None,
        dispatch_complete=suspended.itemized,
        created_at_epoch_ms=now,
        updated_at_epoch_ms=now,
        ttl_epoch_s=interactions[0].ttl_epoch_s,
    )
    return WireSuspension(
        tenant_id=command.tenant_id,
        execution_id=command.execution_id,
        unit_id=unit_id,
        step_index=suspended.step_index,
        unit=unit,
        interactions=interactions,
    )


def _interaction(
    command: TransitionCommand, suspended: Suspended, unit_id: str, place: int | None, request: Any, now: int
) -> WireInteraction:
    """Return an interaction of the protocol. Webhooks and timers stay WAITING, because the coordinator handles them."""
    step: PlannedStep = suspended.step
    waits = step.waits
    if waits is None:
        raise TypeError(f"step {step.name} is not an await")
    item = "" if place is None else f":item={place}"
    key = f"{command.execution_id}:{waits.step_id}{item}"
    deadline = now + int(waits.timeout.total_seconds() * 1000)
    is_handled_by_coordinator = waits.transport in (TIMER, "webhook")
    metadata: dict[str, Any] = dict(waits.transport_metadata)
    if not is_handled_by_coordinator:
        metadata |= {"adapter": waits.transport, "dispatchedAtEpochMs": now}
    return WireInteraction(
        tenant_id=command.tenant_id,
        execution_id=command.execution_id,
        step_id=waits.step_id,
        step_index=suspended.step_index,
        output_type=step.output.type_id,
        interaction_id=str(uuid.uuid4()),
        correlation_id=name_uuid(command.tenant_id, command.execution_id, waits.step_id, key),
        causation_id=f"{command.execution_id}:{suspended.step_index}" + ("" if place is None else f":{place}"),
        idempotency_key=key,
        version=0 if is_handled_by_coordinator else 2,
        status="WAITING" if is_handled_by_coordinator else "DISPATCHED",
        request_payload=request,
        unit_id=unit_id,
        item_index=place,
        assignee=waits.assignee,
        group=waits.group,
        transport_type=waits.transport,
        transport_metadata=metadata,
        deadline_epoch_ms=deadline,
        created_at_epoch_ms=now,
        updated_at_epoch_ms=now,
        ttl_epoch_s=deadline // 1000 + DAY_SECONDS,
        transport_output_type=step.output.type_id,
    )
