"""Stores the items that failed and were collected, and returns them."""

import logging
from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from executions.models import Execution, FailedItems
from foundation.database import prepared
from wire.documents.json_reader import all_storable
from wire.messages import step_reports as wire
from wire.messages.celery_messages import Checkpoint, Outcome

log = logging.getLogger(__name__)

# Stores failed items under the lease that they were reported with. Returns nothing. No effect: the lease is lost, or
# the items of the step are stored already.
STORE = """
INSERT INTO executions_faileditems (execution_id, step_index, failed, items)
SELECT a.id, a.step, a.failed, a.items
FROM unnest(%(ids)s::uuid[], %(versions)s::bigint[], %(tokens)s::uuid[], %(steps)s::int[], %(failed)s::int[],
    %(items)s::jsonb[]) AS a(id, version, token, step, failed, items)
JOIN executions_execution e ON e.id = a.id AND e.version = a.version AND e.lease_token = a.token
    AND e.status = 'RUNNING'
ON CONFLICT DO NOTHING
"""


def store(reports: Sequence[Outcome | Checkpoint]) -> None:
    """Store the failed items of reports whose leases are valid. Their executions are locked.

    An outcome must be one that ends or parks its execution, so that none of its steps runs again.
    """
    rows = [(report, step) for report in reports for step in report.failed_items]
    if not rows:
        return
    columns: dict[str, Any] = {
        "ids": [report.execution_id for report, _ in rows],
        "versions": [report.execution_version for report, _ in rows],
        "tokens": [report.lease_token for report, _ in rows],
        "steps": [step.step_index for _, step in rows],
        "failed": [max(step.failed, len(step.items)) for _, step in rows],
        "items": [Jsonb([_document(item, report) for item in step.items]) for report, step in rows],
    }
    with prepared.cursor() as cursor:
        cursor.execute(STORE, columns)


def _document(item: wire.FailedItem, report: Outcome | Checkpoint) -> dict[str, Any]:
    """Return the stored form of an item, without its JSON if that cannot be stored."""
    document = {"index": item.index, "error": item.error, "message": item.message, "tries": item.tries}
    if not item.item:
        return document
    try:
        return {**document, "item": all_storable([item.item])[0]}
    except ValueError:  # its text may quote the item
        pk = report.execution_id
        log.warning("A failed item of execution %s cannot be stored", pk, extra={"execution": pk})
        return document


def of_execution(execution: Execution) -> list[FailedItems]:
    """Return the failed items of the steps of an execution. Without a release that collects them, nothing is read."""
    steps = execution.release.declarations.get("steps")
    if not steps or not any("onItemFailure" in policy for policy in steps.values()):
        return []
    return list(FailedItems.objects.filter(execution=execution).order_by("step_index"))
