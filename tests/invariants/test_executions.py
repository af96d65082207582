from itertools import product

import pytest

from tests.invariants.attempts import Connection, refusal, results, unguarded
from tests.invariants.new_rows import PAST, SOON, release
from tests.invariants.new_rows_of_executions import DEAD_LETTER, execution, unit
from tests.invariants.new_rows_of_releases import ACTIVE

UNIT_OPEN = f"UPDATE executions_awaitunit SET {{}} WHERE id = {unit('asking')}"
QUESTION_OPEN = "UPDATE executions_interaction SET {} WHERE status = 'DISPATCHED'"
ANSWER = "status = 'COMPLETED', actor = 'a', response = '1', completed_at = {}, note = {}, channel = {}"
ANSWERED = QUESTION_OPEN.format(ANSWER)


def test_a_question_is_answered_now_with_a_note_that_says_something_and_a_known_channel(database: Connection) -> None:
    expected = {
        ANSWERED.format("now()", "NULL", "NULL"): "",
        ANSWERED.format("clock_timestamp()", "'x'", "'page'"): "",
        ANSWERED.format("now()", "NULL", "'api'"): "",
        ANSWERED.format("now()", "NULL", "'resume-token'"): "",
        ANSWERED.format(PAST, "NULL", "NULL"): "interaction_answered_now",
        ANSWERED.format("clock_timestamp() + interval '1 second'", "NULL", "NULL"): "interaction_answered_now",
        ANSWERED.format("now()", "' '", "'page'"): "interaction_note_says_something",
        ANSWERED.format("now()", "''", "NULL"): "interaction_note_says_something",
        ANSWERED.format("now()", "'x'", "'fax'"): "interaction_channel_known",
        ANSWERED.format("now()", "'x'", "''"): "interaction_channel_known",
    }
    assert results(database, expected) == expected


def test_counts_of_a_question_never_decrease_and_a_claim_never_changes_without_its_event(database: Connection) -> None:
    claim = "claimed_by = 'user:x', claimed_until = now() + interval '1 minute', claim_changes = claim_changes + 1"
    changes = {
        "version = version - 1": "interaction_counts_up",
        "dispatch_attempts = dispatch_attempts - 1": "interaction_counts_up",
        "version = version + 1, dispatch_attempts = dispatch_attempts + 1": "",
        claim: "interaction_claim_has_event",
        "delegate = 'user:x', claim_changes = claim_changes + 1": "interaction_claim_has_event",
        "claim_changes = claim_changes + 1": "interaction_claim_has_event",
    }
    expected = {QUESTION_OPEN.format(change): name for change, name in changes.items()}
    assert results(database, expected) == expected


def test_the_first_deadline_is_the_one_before_the_first_move_and_never_changes(database: Connection) -> None:
    asking = f"UPDATE executions_interaction SET {{}} WHERE execution_id = {execution('asking')}"
    later, kept = "deadline = deadline + interval '1 hour'", "interaction_first_deadline"
    first = asking.format(f"{later}, first_deadline = deadline")
    expected = {
        first: "",
        asking.format(f"{later}, first_deadline = deadline - interval '1 s'"): kept,
        asking.format("deadline = deadline - interval '1 hour', first_deadline = deadline"): kept,
        asking.format("first_deadline = deadline"): kept,
    }
    assert results(database, expected) == expected
    again = {asking.format(f"{later}, first_deadline = {value}"): kept for value in ("deadline", "NULL")}
    again[asking.format(later)] = ""
    assert results(database, again, setup=first) == again


def test_the_count_of_answers_of_a_unit_never_decreases(database: Connection) -> None:
    names = {0: "await_unit_counts_answers", 1: "await_unit_counts_answers", 2: "", 3: ""}
    expected = {UNIT_OPEN.format(f"answered_items = {count}"): name for count, name in names.items()}
    assert results(database, expected, setup=UNIT_OPEN.format("expected_items = 3, answered_items = 2")) == expected


@pytest.mark.parametrize("statuses", [*product(("COMPLETED", "DISPATCHED", "CANCELLED"), repeat=2)], ids=str)
def test_a_unit_is_complete_when_each_of_its_questions_is(database: Connection, statuses: tuple[str, ...]) -> None:
    unguarded(database, UNIT_OPEN.format("expected_items = 2"))
    for index, status in enumerate(statuses):
        answer = "'a', now(), '1'" if status == "COMPLETED" else "NULL, NULL, NULL"
        copy = f"""INSERT INTO executions_interaction SELECT (jsonb_populate_record(i, jsonb_build_object(
            'id', gen_random_uuid(), 'item_index', {index}))).* FROM executions_interaction i
            WHERE unit_id = {unit("asking")} AND item_index IS NULL"""
        unguarded(database, copy)
        unguarded(
            database,
            f"UPDATE executions_interaction SET status = '{status}', (actor, completed_at, response) = ROW({answer}) "
            f"WHERE unit_id = {unit('asking')} AND item_index = {index}",
        )
    expected = "" if {*statuses} == {"COMPLETED"} else "await_unit_counts_answers"
    completion = UNIT_OPEN.format("status = 'COMPLETED', answered_items = 2")
    assert refusal(database, completion, ordinary=True) == expected


def test_outputs_are_added_once_in_the_transaction_of_the_success(database: Connection) -> None:
    written = "UPDATE executions_wireform SET result = {} WHERE execution_id = " + execution("queued")
    result = written.format("'1'")
    success = "UPDATE executions_execution SET status = 'SUCCEEDED', result = '1', finished_at = {} WHERE id = "
    success += execution("queued")
    assert refusal(database, result, ordinary=True) == "wire_form_result_with_success"
    earlier = success.format("now() - interval '1 second'")
    assert results(database, [result], setup=earlier) == {result: "wire_form_result_with_success"}
    assert results(database, [result], setup=success.format("now()")) == {result: ""}
    again = {written.format(value): "wire_form_written_once" for value in ("'2'", "'1'", "NULL")}
    assert results(database, again, setup=f"{success.format('now()')}; {result}") == again


END = "ended_at = now(), ended_by = 'user:x', end_reason = ''"
OPEN_HOLD = f"UPDATE executions_hold SET {{}} WHERE release_id = {release('0.1')}"


def test_a_hold_ends_once_and_completely_and_nothing_else_changes(database: Connection) -> None:
    others = (
        "reason = 'other'",
        "started_by = 'user:y'",
        "started_at = started_at - interval '1 day'",
        "refuses_submissions = NOT refuses_submissions",
        f"release_id = {release('0.5')}",
        "tenant_id = tenant_id + 1",
        "id = id + 1000",
    )
    partly = ("ended_at = now()", "ended_at = now(), ended_by = 'user:x'", "ended_at = now(), end_reason = ''")
    again = (END, "ended_at = NULL, ended_by = NULL, end_reason = NULL", "end_reason = 'other'")
    expected = {
        OPEN_HOLD.format(END): "",
        **{OPEN_HOLD.format(f"{END}, {other}"): "hold_ends_once" for other in others},
        **{OPEN_HOLD.format(end): "hold_end_is_complete" for end in partly},
        **{f"UPDATE executions_hold SET {change} WHERE ended_at IS NOT NULL": "hold_ends_once" for change in again},
    }
    assert results(database, expected, ordinary=False) == expected


GROUP_OF_LETTER = f"""
SELECT g.release_id = {ACTIVE} AND g.step_index = d.failed_step_index AND g.fingerprint = d.fingerprint
    AND g.first_seen_at = now() AND g.tenant_id = d.tenant_id
FROM executions_deadletter d JOIN executions_failuregroup g ON g.id = d.group_id
WHERE d.xmin = pg_current_xact_id()::xid
"""


def test_a_new_letter_gets_its_group_whatever_the_statement_says(database: Connection) -> None:
    wrong = {"group_id": "(SELECT id FROM executions_failuregroup LIMIT 1)", "failed_step_index": "7"}
    database.execute(DEAD_LETTER.statement(wrong))
    assert database.execute(GROUP_OF_LETTER).fetchone() == (True,)


def test_an_acknowledgement_names_a_person_and_the_current_time(database: Connection) -> None:
    changes = {
        "acknowledged_by = 'user:eva', acknowledged_at = now()": "",
        f"acknowledged_by = 'user:eva', acknowledged_at = {PAST}": "failure_group_acknowledged_now",
        f"acknowledged_by = 'user:eva', acknowledged_at = {SOON}": "failure_group_acknowledged_now",
        "acknowledged_by = 'user:eva'": "failure_group_acknowledged_by",
        "acknowledged_at = now()": "failure_group_acknowledged_by",
        "acknowledged_by = '', acknowledged_at = now()": "failure_group_acknowledged_by",
    }
    expected = {f"UPDATE executions_failuregroup SET {change}": name for change, name in changes.items()}
    assert results(database, expected) == expected
