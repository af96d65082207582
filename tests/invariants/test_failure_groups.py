"""Which group a dead letter gets, and what people may say about a group, with raw SQL."""

import pytest

from tests.invariants.attempts import Connection, refusal
from tests.invariants.new_rows import PAST, SOON, release
from tests.invariants.new_rows_of_executions import DEAD_LETTER

GROUP_OF_LETTER = f"""
SELECT g.release_id = {release("1.0")} AND g.step_index = d.failed_step_index AND g.fingerprint = d.fingerprint
    AND g.first_seen_at = now() AND g.tenant_id = d.tenant_id
FROM executions_deadletter d JOIN executions_failuregroup g ON g.id = d.group_id
WHERE d.xmin = pg_current_xact_id()::xid
"""
FOREIGN_KEY = "executions_deadlette_group_id_"


def test_a_new_letter_gets_its_group_whatever_the_statement_says(database: Connection) -> None:
    wrong = {"group_id": "(SELECT id FROM executions_failuregroup LIMIT 1)", "failed_step_index": "7"}
    database.execute(DEAD_LETTER.statement(wrong))
    assert database.execute(GROUP_OF_LETTER).fetchone() == (True,)


@pytest.mark.parametrize(
    ("trigger", "missing"), [("dead_letter_grouped", "failed_step_index"), ("dead_letter_adds_group", FOREIGN_KEY)]
)
def test_a_letter_is_rejected_without_what_a_trigger_gives_it(database: Connection, trigger: str, missing: str) -> None:
    database.execute(f"ALTER TABLE executions_deadletter DISABLE TRIGGER {trigger}")
    assert refusal(database, DEAD_LETTER.statement({})).startswith(missing)


@pytest.mark.parametrize("moment", [PAST, SOON])
def test_a_group_is_acknowledged_at_the_current_time(database: Connection, moment: str) -> None:
    statement = "UPDATE executions_failuregroup SET acknowledged_by = 'user:eva', acknowledged_at = {}"
    assert refusal(database, statement.format(moment), ordinary=True) == "failure_group_acknowledged_now"
    assert refusal(database, statement.format("now()"), ordinary=True) == ""


@pytest.mark.parametrize(
    "change",
    ["acknowledged_by = 'user:eva'", "acknowledged_at = now()", "acknowledged_by = '', acknowledged_at = now()"],
)
def test_an_acknowledgement_names_a_person_and_a_time(database: Connection, change: str) -> None:
    statement = f"UPDATE executions_failuregroup SET {change}"
    assert refusal(database, statement, ordinary=True) == "failure_group_acknowledged_by"
