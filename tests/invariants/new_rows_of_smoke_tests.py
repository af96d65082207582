"""Valid new rows of smoke tests, and every wrong value of each."""

from tests.invariants.new_rows import NewRow, each, release, tenant, times
from tests.invariants.new_rows_of_executions import (
    ACTIVE,
    IN_OTHER_PIPELINE,
    NEW_EXECUTION,
    REPLACED,
    execution,
    with_event,
)
from tests.invariants.new_rows_of_releases import NOT_REGISTERED

NEW = "'00000000-0000-4000-8000-000000000004'::uuid"
TESTED = execution("smoke:1.0:k")


def tried(**changes: str) -> str:
    """Return the script that inserts the execution with `changes` and then the smoke test."""
    values = {**NEW_EXECUTION, "id": NEW, "execution_key": "'new'", "smoke": "true", **changes}
    return with_event(NewRow("executions_execution", values, {}).statement({})) + "; {insert}"


def pinned(version: str) -> dict[str, str]:
    return {"release_id": release(version), "release_version": f"'{version}'"}


SMOKE_TEST = NewRow(
    "executions_smoketest",
    {
        "execution_id": NEW,
        "release_id": ACTIVE,
        "expected_result": "'[1]'",
        "actor": "''",
        "created_at": "now()",
    },
    {
        "smoke_test_starts": times("created_at"),
        "smoke_test_expects_one_result": each("expected_result", "'[]'", "'[1, 2]'", "'1'", "'{}'", "'null'"),
        "smoke_test_of_execution": [
            *each("execution_id", "gen_random_uuid()", execution("queued")),
            *each("release_id", release("0.5"), release("1.0", "rival"), "0"),
            {"script": tried(smoke="false")},
            {"script": "{insert}"},
        ],
        "executions_smoketest_pkey": each("execution_id", TESTED),
        "execution_pin_exists": [
            *({"script": tried(**pinned(version))} for version in NOT_REGISTERED if version != "9"),
            {"script": tried(**{**REPLACED, "tenant_id": tenant("other")})},
            {"script": tried(**{**REPLACED, "contract_version": "'x'"})},
        ],
    },
    [
        {"expected_result": "NULL"},
        {"expected_result": "'[null]'"},
        {"release_id": REPLACED["release_id"], "script": tried(**REPLACED)},
        {"release_id": IN_OTHER_PIPELINE["release_id"], "script": tried(**IN_OTHER_PIPELINE)},
    ],
    free="actor",
    script=tried(),
)
SMOKE_TESTS = [SMOKE_TEST]
