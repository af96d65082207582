"""Suspensions whose interactions a REST worker created. Pure.

The worker creates the interactions and sends their requests. The coordinator imports them here, stores them under the
worker's names, and receives their responses.
"""

import base64
import binascii
import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from wire.documents.contract import gives_many, takes_many
from wire.documents.json_reader import shown, storable
from wire.messages.celery_messages import LONGEST_WAIT, Suspension
from wire.messages.rest_messages import TransitionCommand, WireInteraction, WireSuspension, WireUnit, name_uuid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DURABLE = {
    "canonicalTypeId",
    "typeExpressionFingerprint",
    "catalogFingerprint",
    "encoding",
    "encodingVersion",
    "payload",
}
PROJECTOR = "tpf.await.completion.projector"
_CALLBACK = "CONNECTOR_CALLBACK"
_ACCEPTED, _REJECTED = ("SUCCEEDED", "AMBIGUOUS"), ("TERMINAL", "USER_ACTION_REQUIRED")
_UNSETTLED = ("WAITING", "DISPATCHING", "COMPLETION_OBSERVED")
_DURABLE_ENCODING = "application/tpf-canonical+json"

Status = Literal["WAITING", "DISPATCHING", "DISPATCHED", "COMPLETED"]
_KEPT: dict[str, Status] = {status: status for status in get_args(Status)}


class Unanswerable(Exception):
    """A suspension that can never be answered. Its execution fails with the reason instead of waiting."""


class Unsettled(Exception):
    """A worker does not know yet whether the command of an await was accepted. A later attempt reports it."""


class ImportedInteraction(BaseModel):
    """One interaction as its worker created it. `response` is JSON text if it is COMPLETED already."""

    model_config = ConfigDict(frozen=True, strict=True)

    id: uuid.UUID
    worker_name: str | None = Field(max_length=200)
    correlation_id: str = Field(min_length=1, max_length=200)
    status: Status
    deadline: datetime
    metadata: dict[str, Any]
    assignee: str | None = Field(max_length=200)
    group: str | None = Field(max_length=200)
    actor: str | None
    response: str | None


class ImportedSuspension(Suspension):
    """A suspension whose interactions exist already: one for each request, in the same order."""

    unit_name: str = Field(max_length=200)
    interactions: list[ImportedInteraction]


def interaction_id(tenant_id: str, worker_name: str) -> uuid.UUID:
    """Return the id under which an interaction is stored: the worker's name for it, or a UUID derived from that.

    The worker's name is stored too, and is the one that others see.
    """
    try:
        return uuid.UUID(worker_name)
    except ValueError:
        return uuid.UUID(name_uuid(tenant_id, "interaction", worker_name))


def imported(command: TransitionCommand, suspension: WireSuspension) -> ImportedSuspension:
    """Return the suspension that ended `command`.

    Raises `Unanswerable` if the execution would hang or resume with a wrong answer: the unit is missing or finished,
    belongs to another execution, lacks interactions or has too many, or its answers need conversion. Raises `Unsettled`
    if an answer could come before its command is known to be accepted. Raises pydantic's ValidationError for values
    beyond the coordinator's limits.
    """
    unit, interactions = _checked(command, suspension)
    first = interactions[0]
    itemized = unit.primary_interaction_id is None
    waits = min(first.deadline_epoch_ms - first.created_at_epoch_ms, LONGEST_WAIT // timedelta(milliseconds=1))
    return ImportedSuspension(
        unit_name=suspension.unit_id,
        step_index=suspension.step_index,
        step_id=unit.step_id,
        itemized=itemized,
        gives_many=itemized or gives_many(unit.cardinality),
        requests=[_json(_request(interaction.request_payload)) for interaction in interactions],
        request_shape="MULTI" if takes_many(unit.cardinality) else "UNI",
        output_type=first.output_type,
        transport=first.transport_type or "interaction-api",
        transport_metadata={},
        timeout_seconds=max(waits, 1) / 1000,
        assignee=first.assignee,
        group=first.group,
        interactions=[_interaction(command.tenant_id, interaction) for interaction in interactions],
    )


def _checked(command: TransitionCommand, suspension: WireSuspension) -> tuple[WireUnit, Sequence[WireInteraction]]:
    unit = suspension.unit
    if unit is None:
        raise Unanswerable("The suspension has no unit")
    named = (command.tenant_id, command.execution_id, suspension.unit_id, suspension.step_index)
    pins = {(suspension.tenant_id, suspension.execution_id, suspension.unit_id, suspension.step_index)}
    pins.add((unit.tenant_id, unit.execution_id, unit.unit_id, unit.step_index))
    if pins != {named}:
        raise Unanswerable("The suspension belongs to another execution, unit or step than the command")
    if suspension.step_index < command.current_step_index:
        raise Unanswerable("The suspension is at a step before that of the command")
    if unit.status not in ("WAITING_EXTERNAL", "COMPLETED"):
        raise Unanswerable(f"The suspended unit is {unit.status}")
    interactions = _required_interactions(
        unit, [interaction for interaction in suspension.interactions if interaction.unit_id == unit.unit_id]
    )
    for interaction in interactions:
        if (interaction.tenant_id, interaction.execution_id, interaction.step_index) != (named[0], named[1], named[3]):
            raise Unanswerable("An interaction of the suspension belongs to another execution or step")
    settled = [_settled(interaction) for interaction in interactions]
    for interaction in settled:
        _require_plain_answer(interaction)
    return unit, settled


def _settled(interaction: WireInteraction) -> WireInteraction:
    """Return the interaction with the status that follows from the dispatch of its command, if it has one (ADR 80)."""
    status, metadata = interaction.status, interaction.transport_metadata
    if status != "COMPLETION_OBSERVED" and metadata.get("completionMode") != _CALLBACK:
        return interaction
    settlement = metadata.get("commandSettlement")
    if settlement in _REJECTED:
        raise Unanswerable("The command of the await was rejected, so no answer to it counts")
    if status not in _UNSETTLED:
        return interaction
    if settlement not in _ACCEPTED:
        raise Unsettled("The worker has not recorded yet whether the command of the await was accepted")
    return interaction.model_copy(update={"status": "COMPLETED" if status == "COMPLETION_OBSERVED" else "DISPATCHED"})


def _require_plain_answer(interaction: WireInteraction) -> None:
    """Raise `Unanswerable` if only the worker's code can convert an answer to the next step's input."""
    if PROJECTOR in interaction.transport_metadata:
        projector = shown(str(interaction.transport_metadata[PROJECTOR]))
        raise Unanswerable(f"The await names the completion projector {projector}, which this coordinator cannot run")
    travels_as = (interaction.transport_output_type or "").strip() or interaction.output_type
    if travels_as != interaction.output_type:
        types = f"{shown(travels_as)} to {shown(interaction.output_type)}"
        raise Unanswerable(f"The await maps its answer from {types}, which this coordinator cannot do")


def _required_interactions(unit: WireUnit, known: Sequence[WireInteraction]) -> Sequence[WireInteraction]:
    """Return the one interaction of a scalar unit, or those of an itemized unit in the order of its items."""
    if unit.primary_interaction_id is not None:
        primary = [interaction for interaction in known if interaction.interaction_id == unit.primary_interaction_id]
        if len(primary) != 1:
            raise Unanswerable("The unit's primary interaction is not among those of the suspension")
        return primary
    items = sorted(known, key=lambda interaction: -1 if interaction.item_index is None else interaction.item_index)
    if not items or [item.item_index for item in items] != list(range(len(items))):
        raise Unanswerable("The interactions of the itemized unit are not one for each item")
    if len({item.interaction_id for item in items}) < len(items):
        raise Unanswerable("Two interactions of the itemized unit have the same id")
    if not unit.dispatch_complete or unit.expected_item_count not in (None, len(items)):
        raise Unanswerable("The itemized unit has not sent all of its requests yet")
    return items


def _interaction(tenant_id: str, created: WireInteraction) -> ImportedInteraction:
    if created.status not in _KEPT:
        raise Unanswerable(f"An interaction of the suspension is {created.status}")
    completed = created.status == "COMPLETED"
    expected = interaction_id(tenant_id, created.interaction_id)
    return ImportedInteraction(
        id=expected,
        worker_name=None if created.interaction_id == str(expected) else created.interaction_id,
        correlation_id=created.correlation_id,
        status=_KEPT[created.status],
        deadline=_moment(created.deadline_epoch_ms),
        metadata=storable(_json(created.transport_metadata)),
        assignee=created.assignee,
        group=created.group,
        actor=created.actor,
        response=_json(storable(_json(_request(created.response_payload)))) if completed else None,
    )


def _moment(epoch_ms: int) -> datetime:
    try:
        moment = EPOCH + timedelta(milliseconds=epoch_ms)
    except OverflowError:
        moment = None
    if moment is None or moment > datetime.now(UTC) + LONGEST_WAIT:
        raise Unanswerable("The await would wait for more than a hundred years")
    return moment


def _request(value: Any) -> Any:
    """Return plain JSON, decoded if it is a typed durable payload."""
    if not isinstance(value, dict) or value.keys() != _DURABLE or value["encoding"] != _DURABLE_ENCODING:
        return value
    if type(value["encodingVersion"]) is not int:
        return value
    try:
        return storable(base64.b64decode(value["payload"], validate=True).decode())
    except (binascii.Error, ValueError, TypeError):
        raise Unanswerable("A durable payload of the suspension cannot be read") from None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
