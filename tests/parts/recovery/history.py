"""Reads the recorded histories of executions directly from the database."""

from collections import defaultdict
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


_EXECUTIONS = """
SELECT e.id::text AS execution_id, execution_key AS key, pipeline_id, contract_version, release_version, status,
    version, event_count, attempt, result, error_code, created_at, finished_at,
    num_nonnulls(lease_token, lease_owner, lease_protocol, lease_worker, lease_expires_at) > 0 AS leased,
    (SELECT count(*) FROM executions_deadletter d WHERE d.execution_id = e.id) AS dead_letters
FROM executions_execution e WHERE {chosen} ORDER BY created_at
"""
_EVENTS = """
SELECT v.execution_id::text, sequence, kind, v.status, actor, data FROM executions_executionevent v
JOIN executions_execution e ON e.id = v.execution_id WHERE {chosen} ORDER BY v.execution_id, sequence
"""
_UNITS = """
SELECT u.execution_id::text, u.status FROM executions_awaitunit u
JOIN executions_execution e ON e.id = u.execution_id WHERE {chosen}
"""
_INTERACTIONS = """
SELECT i.execution_id::text, i.status, response FROM executions_interaction i
JOIN executions_execution e ON e.id = i.execution_id WHERE {chosen} ORDER BY step_index, item_index
"""


def histories(connection: psycopg.Connection, *, pipeline_id: str) -> list[History]:
    """Return all executions of a pipeline, oldest first. One snapshot, since late outcomes may still arrive."""
    return _read(connection, "e.pipeline_id = %s", pipeline_id)


def history(connection: psycopg.Connection, execution_id: str) -> History:
    """Return one execution, as `histories` does."""
    [found] = _read(connection, "e.id = %s", execution_id)
    return found


def _read(connection: psycopg.Connection, chosen: LiteralString, parameter: str) -> list[History]:
    def rows_of(query: LiteralString) -> psycopg.Cursor:
        return connection.execute(query.format(chosen=chosen), [parameter])

    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        rows = cursor.execute(_EXECUTIONS.format(chosen=chosen), [parameter]).fetchall()
        events: dict[str, list[Event]] = defaultdict(list)
        for execution_id, *event in rows_of(_EVENTS):
            events[execution_id].append(Event(*event))
        units: dict[str, list[str]] = defaultdict(list)
        for execution_id, status in rows_of(_UNITS):
            units[execution_id].append(status)
        interactions: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        for execution_id, status, response in rows_of(_INTERACTIONS):
            interactions[execution_id].append((status, response))
    found = []
    for row in rows:
        pin = (row.pop("pipeline_id"), row.pop("contract_version"), row.pop("release_version"))
        key = row["execution_id"]
        found.append(
            History(
                **row,
                pin=pin,
                events=events[key],
                units=units[key],
                interactions=[status for status, _ in interactions[key]],
                answers=[response for _, response in interactions[key]],
            )
        )
    return found
