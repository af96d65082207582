"""Stores items for which a step is finished while it still runs for the others, and counts them (ADR 123)."""

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from psycopg.types.json import Jsonb

from executions.lifecycle import reports
from foundation.database import prepared
from wire.documents.json_reader import all_storable
from wire.messages.celery_messages import ItemGroup, OutcomeGroup

log = logging.getLogger(__name__)

# Stores groups of items under the lease that they were reported with. The first groups of a lease write an event, so
# that its history tells that the transition proceeds, and reset the number of leases that were lost in a row. Returns
# nothing. No effect: the lease is lost, the checkpoint before the step is not stored, or the groups are stored already.
STORE = """
WITH requested AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(versions)s::bigint[], %(tokens)s::uuid[], %(steps)s::int[],
        %(firsts)s::int[], %(outputs)s::jsonb[], %(totals)s::int[], %(failed)s::int[], %(items)s::jsonb[],
        %(keys)s::text[]) AS a(id, version, token, step, first, outputs, total, failed, items, key)
), locked AS (
    SELECT e.id, e.attempt, e.version, e.lease_token, e.current_step_index FROM executions_execution e
    WHERE e.id = ANY(%(ids)s) AND e.checkpoints AND e.status = 'RUNNING' ORDER BY e.id FOR UPDATE
), stored AS (
    INSERT INTO executions_itemgroup (execution_id, step_index, attempt, first_item, items, outputs, total, failed)
    SELECT a.id, a.step, l.attempt, a.first, ARRAY(SELECT i::int FROM jsonb_array_elements_text(a.items) i), a.outputs,
        a.total, a.failed
    FROM requested a JOIN locked l ON l.id = a.id AND l.version = a.version AND l.lease_token = a.token
        AND l.current_step_index = a.step
    ON CONFLICT DO NOTHING
    RETURNING execution_id, step_index, attempt, total
), begun AS (
    UPDATE executions_execution e SET event_count = e.event_count + 1, takeovers = 0, updated_at = now()
    FROM (SELECT DISTINCT ON (execution_id) * FROM stored ORDER BY execution_id, step_index) s
    WHERE e.id = s.execution_id AND NOT EXISTS (SELECT FROM executions_executionevent v
        WHERE v.execution_id = e.id AND v.sequence = e.event_count AND v.kind = 'ITEMS')
    RETURNING e.id, e.event_count, e.status, s.step_index, s.attempt, s.total
)
INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
SELECT b.id, b.event_count, 'ITEMS', b.status, %(actor)s,
    jsonb_build_object('stepIndex', b.step_index, 'items', b.total, 'attempt', b.attempt,
        'transitionKey', (SELECT a.key FROM requested a WHERE a.id = b.id LIMIT 1)) || %(reporter)s::jsonb
FROM begun b
"""

# Counts the items of the current step of an execution. No row: none is stored.
COUNT = """
SELECT g.step_index, sum(cardinality(g.items)), sum(g.failed), max(g.total)
FROM executions_execution e, item_groups(e.id, e.current_step_index) g WHERE e.id = %(id)s GROUP BY g.step_index
"""


@dataclass(frozen=True, slots=True)
class ItemProgress:
    """How many items of a step are done, as far as they are stored. `done` contains the `failed` ones."""

    step_index: int
    done: int
    failed: int
    total: int


def store(item_groups: Sequence[ItemGroup], group: OutcomeGroup) -> None:
    """Store the valid ones of `found`, which are groups of `group` and of executions that are locked.

    A group is valid if its lease is, if the execution is at its step, and if its results can be stored.
    """
    rows = [(item_group, outputs) for item_group in item_groups if (outputs := _outputs(item_group)) is not None]
    if not rows:
        return
    columns: dict[str, Any] = {
        "actor": f"worker:{group.worker_id}",
        "reporter": Jsonb(reports.reporter(group)),
        "ids": [item_group.execution_id for item_group, _ in rows],
        "versions": [item_group.execution_version for item_group, _ in rows],
        "tokens": [item_group.lease_token for item_group, _ in rows],
        "steps": [item_group.step_index for item_group, _ in rows],
        "firsts": [item_group.items[0] for item_group, _ in rows],
        "items": [Jsonb(item_group.items) for item_group, _ in rows],
        "outputs": [outputs for _, outputs in rows],
        "totals": [item_group.total for item_group, _ in rows],
        "failed": [item_group.failed for item_group, _ in rows],
        "keys": [item_group.transition_key for item_group, _ in rows],
    }
    with prepared.cursor() as cursor:
        cursor.execute(STORE, columns)


def _outputs(group: ItemGroup) -> Jsonb | None:
    """Return the results of the items. If they cannot be stored, log that and return None."""
    try:
        outputs = all_storable(group.outputs)
    except ValueError:  # its text may quote the output
        outputs = []
    if outputs and all(isinstance(output, list) for output in outputs):
        return Jsonb(outputs)
    pk = group.execution_id
    log.warning("Finished items of execution %s cannot be stored", pk, extra={"execution": pk})
    return None


def progress(execution_id: uuid.UUID) -> ItemProgress | None:
    """Return how far the current step of an execution is; None if no item is stored."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT, {"id": execution_id})
        row = cursor.fetchone()
    return None if row is None else ItemProgress(*row)
