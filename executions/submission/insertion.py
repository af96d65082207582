"""Inserts admitted executions: one statement and one commit for the rows of several requests."""

import os
import time
import uuid
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django.db import IntegrityError, connection, transaction
from psycopg.types.json import Json

from executions import metrics
from executions.models import AdmissionReceipt
from executions.submission import statements
from executions.submission.admission import Admission
from executions.submission.group_commit import GroupCommit
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from foundation.database import prepared
from foundation.database.postgresql.outage import is_outage, violated_constraint
from releases.models import Release
from tenancy.roles import Scope, roles_granting
from wire.documents import json_writer

ROWS_IN_A_COMMIT = 500
BYTES_IN_A_COMMIT = 4 * 1024**2
LARGE_BYTES = 1024**2

_SUBMITTING_ROLES = [role.value for role in roles_granting(Scope.SUBMIT)]
# The constraint that is violated if a release is revoked while its executions are being written.
_PIN_EXISTS = "execution_pin_exists"


@dataclass(frozen=True, slots=True)
class Row:
    """A new execution. `document` is its row as the statement expects it: JSON in UTF-8.

    `interrupted` is true if no message reached the control workers when the row was admitted. `receipt` is written with
    the execution.
    """

    id: uuid.UUID
    release: Release
    interrupted: bool
    document: bytes
    receipt: AdmissionReceipt | None = None

    @classmethod
    def of(cls, admission: Admission, receipt: AdmissionReceipt | None = None, **columns: Any) -> Self:
        execution_id = new_id()
        document = {
            "id": str(execution_id),
            "release": admission.release.pk,
            "activation": admission.activation,
            "result_shape": admission.result_shape,
            "checkpoints": admission.checkpoints,
            **columns,
        }
        text = json_writer.text(document)
        return cls(execution_id, admission.release, admission.interrupted, text.encode(), receipt)


def _insert(rows: list[Row]) -> list[datetime | None]:
    """Return the creation time of each row's execution; None if it was not inserted.

    If a release is revoked during the statement, no row is inserted. Callers check the admission of such rows again.
    """
    receipts: list[AdmissionReceipt] = []
    for row in rows:
        if row.receipt is not None:
            row.receipt.execution_id = row.id
            receipts.append(row.receipt)
    document = b"[%b]" % b",".join([row.document for row in rows])
    columns: dict[str, Any] = {
        "rows": Json(document, dumps=bytes),
        "scope": Scope.SUBMIT.value,
        "roles": _SUBMITTING_ROLES,
    }
    try:
        # Outside of a transaction, a single statement is a transaction and needs no savepoint.
        in_transaction = connection.in_atomic_block or receipts
        with transaction.atomic() if in_transaction else nullcontext(), prepared.cursor() as cursor:
            cursor.execute(statements.INSERT, columns)
            inserted: dict[uuid.UUID, datetime] = dict(cursor.fetchall())
            for receipt in receipts:
                if receipt.execution_id in inserted:
                    cursor.execute(statements.INSERT_RECEIPT, vars(receipt))
    except IntegrityError as error:
        if violated_constraint(error) != _PIN_EXISTS:
            raise
        return [None] * len(rows)
    if len(document) > LARGE_BYTES and not connection.in_atomic_block:
        connection.close()  # libpq keeps a buffer as large as the largest statement it ever sent
    metrics.submission_groups.observe(amount=len(rows))
    if inserted:
        wakeup.send_once(DISPATCH_TASK)
    return [inserted.get(row.id) for row in rows]


def _size(row: Row) -> int:
    return len(row.document)


commits = GroupCommit(
    _insert, most_rows=ROWS_IN_A_COMMIT, size=_size, most_bytes=BYTES_IN_A_COMMIT, is_outage=is_outage
)


def new_id() -> uuid.UUID:
    """Return a UUID of version 7 (RFC 9562, section 5.7): 48 bits of Unix time in milliseconds and 74 random bits."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (time.time_ns() // 1_000_000) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)
