"""When alerts, their events and their messages may be removed, and what the database sets at their end."""

import pytest

from tests.invariants.attempts import Connection, refusal, unguarded
from tests.invariants.new_rows import each, tenant
from tests.invariants.test_checks import Check, changed, without_triggers

RESOLVED = f"(SELECT id FROM alerts_alert WHERE state = 'RESOLVED' AND tenant_id = {tenant('owner')})"
PARTS = """DELETE FROM alerts_alertdelivery WHERE alert_id IN (SELECT id FROM chosen);
    DELETE FROM alerts_alertevent WHERE alert_id IN (SELECT id FROM chosen)"""
REMOVAL = f"""CREATE TEMPORARY TABLE chosen ON COMMIT DROP AS SELECT id FROM alerts_alert WHERE id = {RESOLVED};
    DELETE FROM alerts_alert WHERE id IN (SELECT id FROM chosen)"""


@pytest.mark.parametrize(("ago", "expected"), [("23 hours 59 minutes", "alert_kept"), ("24 hours 1 minute", "")])
def test_an_alert_is_kept_for_a_day_after_its_end(database: Connection, ago: str, expected: str) -> None:
    change = f"UPDATE alerts_alert SET resolved_at = now() - interval '{ago}' WHERE id = {RESOLVED}"
    unguarded(database, "alerts_alert", change)
    assert refusal(database, f"{REMOVAL}; {PARTS}") == expected


def test_no_part_of_a_removed_alert_remains(database: Connection) -> None:
    change = f"UPDATE alerts_alert SET resolved_at = now() - interval '2 days' WHERE id = {RESOLVED}"
    unguarded(database, "alerts_alert", change)
    first, second = PARTS.split(";")
    for rest in (first, second):
        assert "_fk_" in refusal(database, f"{REMOVAL}; {rest}")


def test_the_parts_of_another_alert_are_kept(database: Connection) -> None:
    for table, name in (
        ("alerts_alertevent", "alert_event_append_only"),
        ("alerts_alertdelivery", "alert_delivery_kept"),
    ):
        assert refusal(database, f"DELETE FROM {table}") == name


@pytest.mark.parametrize(("ago", "expected"), [("23 hours", "alert_delivery_kept"), ("25 hours", "")])
def test_a_message_is_kept_for_a_day_after_its_end(database: Connection, ago: str, expected: str) -> None:
    change = f"UPDATE alerts_alertdelivery SET finished_at = now() - interval '{ago}' WHERE state = 'SENT'"
    unguarded(database, "alerts_alertdelivery", change)
    assert refusal(database, "DELETE FROM alerts_alertdelivery WHERE state = 'SENT'") == expected


def test_the_database_sets_the_times_of_ends(database: Connection) -> None:
    for statement in (
        "UPDATE alerts_alert SET state = 'RESOLVED' WHERE state = 'FIRING' RETURNING resolved_at = now()",
        "UPDATE alerts_alertdelivery SET state = 'SENT' WHERE state = 'PENDING' RETURNING finished_at = now()",
    ):
        assert {found for (found,) in database.execute(statement)} == {True}


CHECKS = [
    Check("alerts_alert", "alert_resolved_has_time", each("resolved_at", "NULL"), [], "state = 'RESOLVED'"),
    Check("alerts_alert", "alert_resolved_has_time", each("state", "'RESOLVED'", "'OTHER'"), [], "state = 'FIRING'"),
    Check(
        "alerts_alertdelivery",
        "alert_delivery_over_has_finish",
        [*each("state", "'SENT'", "'FAILED'", "'OTHER'"), *each("finished_at", "now()")],
        [{"state": "'SENT'", "finished_at": "now()"}],
        "state = 'PENDING'",
    ),
]


@pytest.mark.parametrize("check", CHECKS)
def test_what_each_state_has(database: Connection, check: Check) -> None:
    with without_triggers(database, check.table):
        found = {str(change): refusal(database, changed(check, change)) for change in (*check.wrong, *check.right)}
    wrong = {str(change): check.constraint for change in check.wrong}
    assert found == wrong | {str(change): "" for change in check.right}
