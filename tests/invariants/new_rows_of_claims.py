"""A valid new event of a claim, and every wrong value of it."""

from collections.abc import Mapping

from tests.invariants.new_rows import NewRow, blanks, each, tenant
from tests.invariants.new_rows_of_executions import execution

UNTIL = "now() + interval '10 minutes'"
CLAIM = {"claimed_by": "'user:x'", "claimed_until": UNTIL, "delegate": "NULL::text"}


def question(key: str) -> str:
    return f"(SELECT id FROM executions_interaction WHERE execution_id = {execution(key)})"


def changed(changes: Mapping[str, str] = CLAIM, key: str = "asking", counts: int = 1) -> str:
    """Return the statement that changes the claim of the question and inserts the event."""
    sets = ", ".join(f"{name} = {value}" for name, value in changes.items())
    update = f"UPDATE executions_interaction SET {sets}, claim_changes = claim_changes + {counts}"
    return f"WITH changed AS ({update} WHERE id = {question(key)} RETURNING 1) {{insert}}"


RELEASED = {"kind": "'RELEASED'", "claimed_by": "NULL::text", "claimed_until": "NULL::timestamptz"}
DELEGATED = {**RELEASED, "kind": "'DELEGATED'", "delegate": "'user:y'"}


def both(**changes: str) -> dict[str, str]:
    """Return a change of the event and of the question."""
    return {**changes, "script": changed({name: changes.get(name, value) for name, value in CLAIM.items()})}


CLAIMS = [
    NewRow(
        "executions_interactionevent",
        {
            "tenant_id": tenant("owner"),
            "execution_id": execution("asking"),
            "interaction_id": question("asking"),
            "sequence": "1",
            "kind": "'CLAIMED'",
            "actor": "'user:x'",
            "note": "NULL::text",
            **CLAIM,
        },
        {
            "interaction_claim_has_event": [
                *each("sequence", "0", "2"),
                *each("claimed_until", "now() + interval '11 minutes'"),
                {**RELEASED},
                {"delegate": "'user:y'"},
                {"script": changed(counts=0)},
                {"script": changed(counts=2)},
            ],
            "interaction_event_of_claim": [
                *each("tenant_id", tenant("rival"), tenant("other")),
                *each("execution_id", execution("queued"), execution("cancelled")),
                both(claimed_until="now() + interval '31 minutes'"),
                both(claimed_until="now() - interval '1 second'"),
                {"script": "{insert}", "source": ""},
            ],
            "interaction_over_is_over": [
                {
                    "interaction_id": question("cancelled"),
                    "execution_id": execution("cancelled"),
                    "script": changed(key="cancelled"),
                }
            ],
            "interaction_claim_complete": [both(claimed_until="NULL::timestamptz"), both(claimed_by="NULL::text")],
            "interaction_event_once": each("interaction_id", question("cancelled")),
            "interaction_event_kind": [
                *each("kind", "'RELEASED'", "'DELEGATED'", "'x'"),
                *each("actor", "'user:z'"),
                both(claimed_by="'user:z'"),
                both(**{**DELEGATED, "delegate": "NULL::text"}),
            ],
            "interaction_event_note_says_something": blanks("note"),
        },
        [
            *each("kind", "'RENEWED'", "'TAKEN_OVER'"),
            *each("note", "'x'"),
            both(**RELEASED),
            both(**DELEGATED),
        ],
        source="FROM changed",
        script=changed(),
    )
]
