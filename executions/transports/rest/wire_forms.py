"""Stores typed payloads as they travelled, in addition to the plain JSON that the domain uses."""

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import connection
from psycopg.types.json import Jsonb

from executions.models import WireForm
from executions.transports.rest import statements
from wire.messages.payload_envelopes import Snapshot, TypedPayload


def keep_result(execution_id: uuid.UUID, outputs: Sequence[TypedPayload], *, version: int) -> None:
    """Store outputs in the transaction that records an outcome, if that outcome moved the execution to `version`."""
    parameters: dict[str, Any] = {
        "id": execution_id,
        "version": version,
        "result": Jsonb([output.document() for output in outputs]),
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.STORE_RESULT, parameters)


def submitted(execution_id: uuid.UUID) -> Snapshot | None:
    """Return the input as it was submitted in typed payloads; None if it was submitted as plain JSON."""
    found = WireForm.objects.filter(pk=execution_id).values_list("input", flat=True).first()
    return None if found is None else Snapshot.model_validate(found)


def outputs(execution_id: uuid.UUID) -> list[TypedPayload] | None:
    """Return the outputs as a REST worker sent them; None if no REST worker completed the execution."""
    found = WireForm.objects.filter(pk=execution_id).values_list("result", flat=True).first()
    return None if found is None else [TypedPayload.model_validate(output) for output in found]
