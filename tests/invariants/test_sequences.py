"""The sequences of execution events, event counts in groups, and the order of campaign events."""

from itertools import product

import pytest

from tests.invariants.attempts import Connection, refusal, unguarded
from tests.invariants.new_rows_of_executions import execution

CHOSEN = "FROM executions_execution WHERE id = {}"
SEQUENCE, COUNT = "event_in_sequence", "execution_counts_its_events"
# Increase of the event count, sequences of the new events relative to the old count, their statuses, expected results
EVENTS: list[tuple[int, tuple[int, ...], tuple[str, ...], set[str]]] = [
    (1, (1,), ("QUEUED",), {""}),
    (2, (1, 2), ("QUEUED", "QUEUED"), {""}),
    (3, (3, 1, 2), ("QUEUED",) * 3, {""}),
    (0, (), (), {""}),
    (1, (), (), {COUNT}),
    (2, (1,), ("QUEUED",), {COUNT, SEQUENCE}),
    (2, (2,), ("QUEUED",), {SEQUENCE}),
    (3, (1, 3), ("QUEUED", "QUEUED"), {SEQUENCE}),
    (3, (2, 3), ("QUEUED", "QUEUED"), {SEQUENCE}),
    (0, (1,), ("QUEUED",), {SEQUENCE}),
    (1, (1, 2), ("QUEUED", "QUEUED"), {SEQUENCE}),
    (1, (0,), ("QUEUED",), {"event_sequence_once"}),
    (1, (-1, 1), ("QUEUED", "QUEUED"), {"event_sequence_once", "event_sequence_from_one", SEQUENCE}),
    (1, (1,), ("RUNNING",), {SEQUENCE}),
    (2, (1, 2), ("CANCELLED", "QUEUED"), {SEQUENCE}),
    (2, (1, 2), ("QUEUED", "WAIT_RETRY"), {SEQUENCE}),
    (2, (1, 2), ("RUNNING", "QUEUED"), {SEQUENCE}),
    (-1, (), (), {"execution_counts_up"}),
]


@pytest.mark.parametrize(("counted", "sequences", "statuses", "expected"), EVENTS)
def test_events_follow_each_other_without_gaps(
    database: Connection, counted: int, sequences: tuple[int, ...], statuses: tuple[str, ...], expected: set[str]
) -> None:
    events = ", ".join(f"({after}, '{status}')" for after, status in zip(sequences, statuses, strict=True))
    insert = f"""INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
        SELECT c.id, c.event_count - {counted} + e.after, '', e.status, '', '{{}}'
        FROM counted c CROSS JOIN (VALUES {events or "(0, '')"}) e(after, status) WHERE {bool(events)}"""
    statement = f"""WITH counted AS (UPDATE executions_execution SET event_count = event_count + {counted}
        WHERE id = {execution("queued")} RETURNING id, event_count) {insert}"""
    assert refusal(database, statement, ordinary=True) in expected


@pytest.mark.parametrize(("first", "second"), [*product((0, 1, 2), repeat=2)])
def test_each_execution_of_a_group_counts_its_own_events(database: Connection, first: int, second: int) -> None:
    statement = f"""WITH counted AS (UPDATE executions_execution SET event_count = event_count + 1
        WHERE id IN ({execution("queued")}, {execution("running")}) RETURNING id, event_count, status)
        INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
        SELECT id, event_count + n, '', status, '', '{{}}'
        FROM counted, generate_series(0, CASE id WHEN {execution("queued")} THEN {first} ELSE {second} END - 1) n"""
    found = refusal(database, statement, ordinary=True)
    assert found == "" if first == second == 1 else found in {SEQUENCE, COUNT}


KINDS = ("STARTED", "CANARY_PASSED", "PAUSED", "RESUMED", "COMPLETED", "CANCELLED")
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
    campaign = "(SELECT id FROM executions_campaign WHERE status = 'RUNNING' LIMIT 1)"
    [(key,)] = database.execute(campaign.strip("()"))
    unguarded(database, "executions_campaignevent", f"DELETE FROM executions_campaignevent WHERE campaign_id = '{key}'")
    insert = "INSERT INTO executions_campaignevent (campaign_id, kind, actor, data) VALUES ('{}', '{}', '', '{{}}')"
    for kind in ("CANCELLED", before) if before else ():
        unguarded(database, "executions_campaignevent", insert.format(key, kind))
    accepted = set()
    for status in ("RUNNING", "PAUSED", "COMPLETED", "CANCELLED"):
        with database.transaction(force_rollback=True):
            finish = "now()" if status in {"COMPLETED", "CANCELLED"} else "NULL"
            change = f"UPDATE executions_campaign SET status = '{status}', finished_at = {finish} WHERE id = '{key}'"
            unguarded(database, "executions_campaign", change)
            found = {kind: refusal(database, insert.format(key, kind), ordinary=True) for kind in KINDS}
            assert set(found.values()) <= {"", "campaign_event_of_change"}
            accepted |= {(kind, status) for kind, name in found.items() if not name}
    assert accepted == {(kind, STATUS_AFTER[kind]) for kind in FOLLOWS[before]}
