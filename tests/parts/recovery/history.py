from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row


@dataclass(frozen=True, slots=True)
class Event:
    sequence: int
    kind: str
    status: str
    actor: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class History:
    """One execution and its rows. `units` and `interactions` hold statuses, `answers` the responses."""

    execution_id: str
    key: str
    pin: tuple[str, str, str]
    status: str
    version: int
    event_count: int
    attempt: int
    leased: bool
    result: list[Any] | None
    created_at: datetime
    finished_at: datetime | None
    events: list[Event] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    interactions: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    dead_letters: int = 0
    error_code: str | None = None

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def count(self, kind: str) -> int:
        return self.kinds.count(kind)


_QUERY = """
SELECT e.id::text AS execution_id, execution_key AS key, status, version, event_count, attempt, result, error_code,
    created_at, finished_at, ARRAY[pipeline_id, contract_version, release_version] AS pin,
    num_nonnulls(lease_token, lease_owner, lease_protocol, lease_worker, lease_expires_at) > 0 AS leased,
    (SELECT count(*) FROM executions_deadletter d WHERE d.execution_id = e.id) AS dead_letters,
    ARRAY(SELECT u.status FROM executions_awaitunit u WHERE u.execution_id = e.id) AS units,
    ARRAY(SELECT i.status FROM executions_interaction i WHERE i.execution_id = e.id
        ORDER BY step_index, item_index) AS interactions,
    ARRAY(SELECT i.response FROM executions_interaction i WHERE i.execution_id = e.id
        ORDER BY step_index, item_index) AS answers,
    (SELECT jsonb_agg(jsonb_build_array(sequence, kind, v.status, actor, data) ORDER BY sequence)
        FROM executions_executionevent v WHERE v.execution_id = e.id) AS events
FROM executions_execution e WHERE {chosen} ORDER BY created_at
"""


def histories(connection: psycopg.Connection, *, pipeline_id: str) -> list[History]:
    """Return all executions of a pipeline, oldest first. One snapshot, since late outcomes may still arrive."""
    return _read(connection, "e.pipeline_id = %s", pipeline_id)


def history(connection: psycopg.Connection, execution_id: str) -> History:
    [row] = _read(connection, "e.id = %s", execution_id)
    return row


def _read(connection: psycopg.Connection, chosen: LiteralString, parameter: str) -> list[History]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_QUERY.format(chosen=chosen), [parameter]).fetchall()
    return [
        History(**{**row, "pin": tuple(row["pin"]), "events": [Event(*event) for event in row["events"] or ()]})
        for row in rows
    ]
