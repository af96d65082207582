"""Notes and channels of answers, and claims, as the application role changes them."""

import pytest

from tests.invariants.attempts import Connection, refusal

ANSWERED = """UPDATE executions_interaction SET status = 'COMPLETED', actor = 'a', response = '1', completed_at = now(),
    note = {}, channel = {} WHERE status = 'DISPATCHED'"""


@pytest.mark.parametrize(
    ("note", "channel", "expected"),
    [
        ("'x'", "'page'", ""),
        ("NULL", "'api'", ""),
        ("NULL", "'resume-token'", ""),
        ("NULL", "NULL", ""),
        ("' '", "'page'", "interaction_note_says_something"),
        ("''", "NULL", "interaction_note_says_something"),
        ("'x'", "'fax'", "interaction_channel_known"),
        ("'x'", "''", "interaction_channel_known"),
    ],
)
def test_an_answer_has_a_note_that_says_something_and_a_known_channel(
    database: Connection, note: str, channel: str, expected: str
) -> None:
    assert refusal(database, ANSWERED.format(note, channel), ordinary=True) == expected


@pytest.mark.parametrize(
    "change",
    [
        "claimed_by = 'user:x', claimed_until = now() + interval '1 minute', claim_changes = claim_changes + 1",
        "delegate = 'user:x', claim_changes = claim_changes + 1",
        "claim_changes = claim_changes + 1",
    ],
)
def test_a_claim_never_changes_without_its_event(database: Connection, change: str) -> None:
    update = f"UPDATE executions_interaction SET {change} WHERE status = 'DISPATCHED'"
    assert refusal(database, update, ordinary=True) == "interaction_claim_has_event"
