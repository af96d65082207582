"""Valid new rows of failure groups, and every wrong value of each. Only a trigger of dead letters writes them."""

from tests.invariants.new_rows import NewRow, each, release, tenant, times

FAILURE_GROUP = NewRow(
    "executions_failuregroup",
    {
        "id": f"failure_group_id({release('1.0')}, 0, 'f')",
        "tenant_id": tenant("owner"),
        "release_id": release("1.0"),
        "step_index": "0",
        "fingerprint": "'f'",
        "error_code": "'x'",
        "sample_message": "''",
        "first_seen_at": "now()",
        "last_seen_at": "now()",
        "acknowledged_by": "''",
        "acknowledged_at": "NULL::timestamptz",
        "assignee": "''",
        "note": "''",
    },
    {
        "failure_group_computed_id": [
            *each("id", "gen_random_uuid()"),
            *each("release_id", release("0.5")),
            *each("step_index", "1"),
            *each("fingerprint", "'g'"),
        ],
        "failure_group_starts": [
            *times("first_seen_at", "last_seen_at"),
            *each("assignee", "'eva'"),
            *each("note", "'x'"),
            {"acknowledged_by": "'user:eva'", "acknowledged_at": "now()"},
        ],
        "failure_group_acknowledged_by": [*each("acknowledged_by", "'user:eva'"), *each("acknowledged_at", "now()")],
        "executions_failuregroup_pkey": [{"script": "{insert}; {insert}"}],
    },
    free="tenant_id error_code sample_message",
    ordinary=False,
)
FAILURES = [FAILURE_GROUP]
