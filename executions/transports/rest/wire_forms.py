"""The payloads that travelled, beside the plain JSON of the domain: kept in its transactions, read by its adapters."""

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import connection
from psycopg.types.json import Jsonb

from executions.models import WireForm
from executions.transports.rest import statements
from wire.messages.payload_envelopes import Snapshot, TypedPayload


def keep_result(execution_id: uuid.UUID, outputs: Sequence[TypedPayload], *, version: int) -> None:
    """For the transaction that records an outcome: nothing is kept unless that very outcome ended it, at `version`."""
    parameters: dict[str, Any] = {
        "id": execution_id,
        "version": version,
        "result": Jsonb([output.document() for output in outputs]),
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.STORE_RESULT, parameters)


def submitted(execution_id: uuid.UUID) -> Snapshot | None:
    """What was submitted in typed payloads, if it was."""
    found = WireForm.objects.filter(pk=execution_id).values_list("input", flat=True).first()
    return None if found is None else Snapshot.model_validate(found)


def outputs(execution_id: uuid.UUID) -> list[TypedPayload] | None:
    """What a REST worker gave as outputs, if one did."""
    found = WireForm.objects.filter(pk=execution_id).values_list("result", flat=True).first()
    return None if found is None else [TypedPayload.model_validate(output) for output in found]
