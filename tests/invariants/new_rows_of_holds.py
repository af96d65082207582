"""A valid new hold, and every wrong value of it."""

from tests.invariants.new_rows import NewRow, blanks, each, pipeline, release, tenant
from tests.invariants.new_rows_of_executions import execution
from tests.invariants.new_rows_of_releases import OTHER_PIPELINE

QUEUED = execution("queued")
OF_EXECUTION = {"release_id": "NULL", "execution_id": QUEUED}
HELD = f"UPDATE executions_execution SET held = true WHERE id = {QUEUED}"
PAUSED = f"""{HELD};
    INSERT INTO executions_hold (tenant_id, execution_id, reason, refuses_submissions, started_by)
    VALUES ({tenant("owner")}, {QUEUED}, 'x', false, '')"""

HOLDS = [
    NewRow(
        "executions_hold",
        {
            "tenant_id": tenant("owner"),
            "execution_id": "NULL",
            "release_id": release("0.5"),
            "pipeline_id": "NULL",
            "reason": "'x'",
            "refuses_submissions": "true",
            "started_by": "''",
        },
        {
            "hold_starts_open": [
                *each("tenant_id", tenant("rival"), tenant("other"), "0"),
                *each("release_id", release("1.0", "rival"), "NULL", "0"),
                {"release_id": "NULL", "pipeline_id": pipeline("rival")},
                {**OF_EXECUTION, "tenant_id": tenant("rival"), "refuses_submissions": "false"},
            ],
            "hold_has_one_target": [
                {"pipeline_id": pipeline()},
                {"execution_id": QUEUED, "refuses_submissions": "false"},
                {**OF_EXECUTION, "pipeline_id": pipeline(), "refuses_submissions": "false"},
            ],
            "hold_refuses_submissions": [{**OF_EXECUTION, "setup": HELD}],
            "hold_says_why": blanks("reason"),
            "hold_of_release_once": [{"release_id": release("0.1")}],
            "hold_of_pipeline_once": [{"release_id": "NULL", "pipeline_id": pipeline(name=OTHER_PIPELINE)}],
            "hold_of_execution_once": [{**OF_EXECUTION, "refuses_submissions": "false", "setup": PAUSED}],
            "hold_holds_execution": [{**OF_EXECUTION, "refuses_submissions": "false"}],
        },
        [
            {"refuses_submissions": "false"},
            {"release_id": "NULL", "pipeline_id": pipeline()},
            {**OF_EXECUTION, "refuses_submissions": "false", "setup": HELD},
        ],
        free="started_by",
    ),
]
