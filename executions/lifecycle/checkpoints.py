"""Stores checkpoints of running transitions. A retry starts after the newest one.

The worker does not wait for this. A checkpoint that arrives after the outcome of its execution, or after a later
checkpoint, is dropped.
"""

import logging
import uuid
from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from executions.lifecycle import reports, statements
from foundation.database import prepared
from wire.documents.json_reader import all_storable
from wire.messages.celery_messages import Checkpoint, OutcomeGroup

log = logging.getLogger(__name__)


def keep(reached: Sequence[Checkpoint], group: OutcomeGroup, starts: reports.Starts) -> dict[uuid.UUID, int]:
    """Store the newest valid checkpoint of each execution, and return the steps at which these executions resume.

    A checkpoint is valid if its lease is, and if its outputs can be stored. It counts as progress: it resets the number
    of leases that its execution has lost in a row. The caller has verified that the executions belong to the release
    that the worker hosts. `reached` are those checkpoints of `group`, and `starts` the current steps of the executions.
    """
    # At most one version and lease of an execution passes the guard, so the newest is chosen for each of them.
    newest: dict[object, tuple[Checkpoint, Jsonb]] = {}
    for each in sorted(reached, key=lambda each: each.next_step_index):
        progress = _progress(each)
        if progress is not None:
            newest[each.execution_id, each.execution_version, each.lease_token] = (each, progress)
    rows = list(newest.values())
    if not rows:
        return {}
    columns: dict[str, Any] = {
        "actor": f"worker:{group.worker_id}",
        "reporter": Jsonb(reports.reporter(group)),
        "ids": [each.execution_id for each, _ in rows],
        "versions": [each.execution_version for each, _ in rows],
        "tokens": [each.lease_token for each, _ in rows],
        "steps": [each.next_step_index for each, _ in rows],
        "progress": [progress for _, progress in rows],
        "shapes": ["MULTI" if each.many else "UNI" for each, _ in rows],
        "keys": [each.transition_key for each, _ in rows],
        "spans": [Jsonb(reports.of_checkpoint(each, starts[each.execution_id])) for each, _ in rows],
    }
    with prepared.cursor() as cursor:
        cursor.execute(statements.STORE_CHECKPOINTS, columns)
        return dict(cursor.fetchall())


def _progress(checkpoint: Checkpoint) -> Jsonb | None:
    """Return what the next step starts from. If it cannot be stored, log that and return None."""
    try:
        outputs = all_storable(checkpoint.output_payloads)
    except ValueError:  # its text may quote the output
        pk = checkpoint.execution_id
        log.warning("A checkpoint of execution %s cannot be stored", pk, extra={"execution": pk})
        return None
    if checkpoint.many:
        return Jsonb(outputs)
    return Jsonb(outputs[0]) if len(outputs) == 1 else None
