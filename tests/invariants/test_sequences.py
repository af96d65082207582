from itertools import product

import pytest

from tests.invariants.attempts import Connection, refusal, results, unguarded
from tests.invariants.new_rows_of_executions import execution

SEQUENCE, COUNT = "event_in_sequence", "execution_counts_its_events"
EVENTS: list[tuple[int, tuple[int, ...], tuple[str, ...], set[str]]] = [
    (1, (1,), ("QUEUED",), {""}),
    (2, (1, 2), ("QUEUED", "QUEUED"), {""}),
    (1, (), (), {COUNT}),
    (2, (1,), ("QUEUED",), {COUNT, SEQUENCE}),
    (2, (2,), ("QUEUED",), {SEQUENCE}),
    (3, (1, 3), ("QUEUED", "QUEUED"), {SEQUENCE}),
    (3, (2, 3), ("QUEUED", "QUEUED"), {SEQUENCE}),
    (3, (1, 2), ("QUEUED", "QUEUED"), {COUNT}),
    (0, (0,), ("QUEUED",), {"event_sequence_once"}),
    (0, (1,), ("QUEUED",), {SEQUENCE}),
    (1, (1, 2), ("QUEUED", "QUEUED"), {SEQUENCE}),
    (1, (1,), ("RUNNING",), {SEQUENCE}),
    (2, (1, 2), ("CANCELLED", "QUEUED"), {SEQUENCE}),
    (-1, (), (), {"execution_counts_up"}),
]
"""Increase of the event count, sequences of the new events relative to the old count, their statuses, and results."""


def test_events_follow_each_other_without_gaps(database: Connection) -> None:
    for counted, sequences, statuses, expected in EVENTS:
        events = ", ".join(f"({after}, '{status}')" for after, status in zip(sequences, statuses, strict=True))
        insert = f"""INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
            SELECT c.id, c.event_count - {counted} + e.after, '', e.status, '', '{{}}'
            FROM counted c CROSS JOIN (VALUES {events or "(0, '')"}) e(after, status) WHERE {bool(events)}"""
        statement = f"""WITH counted AS (UPDATE executions_execution SET event_count = event_count + {counted}
            WHERE id = {execution("queued")} RETURNING id, event_count) {insert}"""
        verdict = refusal(database, statement, ordinary=True)
        assert verdict in expected, (counted, sequences, statuses)


def test_no_event_is_without_its_execution(database: Connection) -> None:
    """Events have no foreign key. A removal is seen in each isolation level: see `guard_event_sequence`."""
    insert = "INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data) VALUES"
    alone = f"{insert} (gen_random_uuid(), {{}}, '', 'QUEUED', '', '{{{{}}}}')"
    for sequence in (0, 1, 2):
        assert refusal(database, alone.format(sequence), ordinary=True) == SEQUENCE
    before_first = f"""WITH counted AS (UPDATE executions_execution SET event_count = event_count + 1
        WHERE id = {execution("queued")} RETURNING id, event_count) {insert.removesuffix("VALUES")}
        SELECT id, n, '', 'QUEUED', '', '{{}}' FROM counted, generate_series(0, event_count) n"""
    setup = f"DELETE FROM executions_executionevent WHERE execution_id = {execution('queued')}"
    assert results(database, [before_first], setup=setup) == {before_first: SEQUENCE}


def test_each_execution_of_a_group_counts_its_own_events(database: Connection) -> None:
    for first, second in product((0, 1, 2), repeat=2):
        statement = f"""WITH counted AS (UPDATE executions_execution SET event_count = event_count + 1
            WHERE id IN ({execution("queued")}, {execution("running")}) RETURNING id, event_count, status)
            INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
            SELECT id, event_count + n, '', status, '', '{{}}'
            FROM counted, generate_series(0, CASE id WHEN {execution("queued")} THEN {first} ELSE {second} END - 1) n"""
        verdict = refusal(database, statement, ordinary=True)
        assert verdict == "" if first == second == 1 else verdict in {SEQUENCE, COUNT}, (first, second)


STATUS_AFTER = {
    "STARTED": "RUNNING",
    "PAUSED": "PAUSED",
    "RESUMED": "RUNNING",
    "CANARY_PASSED": "RUNNING",
    "COMPLETED": "COMPLETED",
    "CANCELLED": "CANCELLED",
}
FOLLOWS = {
    "": {"STARTED"},
    "STARTED": {"CANARY_PASSED", "PAUSED", "COMPLETED", "CANCELLED"},
    "RESUMED": {"CANARY_PASSED", "PAUSED", "COMPLETED", "CANCELLED"},
    "CANARY_PASSED": {"PAUSED", "COMPLETED", "CANCELLED"},
    "PAUSED": {"RESUMED", "CANCELLED"},
    "COMPLETED": set(),
    "CANCELLED": set(),
}


@pytest.mark.parametrize("before", FOLLOWS)
def test_the_order_of_campaign_events(database: Connection, before: str) -> None:
    [(key,)] = database.execute("SELECT id FROM executions_campaign WHERE status = 'RUNNING' LIMIT 1")
    unguarded(database, f"DELETE FROM executions_campaignevent WHERE campaign_id = '{key}'")
    insert = "INSERT INTO executions_campaignevent (campaign_id, kind, actor, data) VALUES ('{}', '{}', '', '{{}}')"
    for kind in ("CANCELLED", before) if before else ():
        unguarded(database, insert.format(key, kind))
    accepted = set()
    attempts = {insert.format(key, kind): kind for kind in STATUS_AFTER}
    for status in sorted({*STATUS_AFTER.values()}):
        finish = "now()" if status in {"COMPLETED", "CANCELLED"} else "NULL"
        change = f"UPDATE executions_campaign SET status = '{status}', finished_at = {finish} WHERE id = '{key}'"
        verdicts = results(database, attempts, setup=change)
        assert {*verdicts.values()} <= {"", "campaign_event_of_change"}
        accepted |= {(attempts[statement], status) for statement, name in verdicts.items() if not name}
    assert accepted == {(kind, STATUS_AFTER[kind]) for kind in FOLLOWS[before]}
