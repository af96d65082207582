"""Valid new links of resubmissions, and every wrong value of each."""

from tests.invariants.new_rows import NewRow, each, release, tenant
from tests.invariants.new_rows_of_executions import IN_OTHER_PIPELINE, NEW_EXECUTION, execution, with_event
from tests.invariants.new_rows_of_operations import NEW_CAMPAIGN, version

NEW = "'00000000-0000-4000-8000-000000000003'"
OLD = execution("dead")
CAMPAIGN = NEW_CAMPAIGN.values["id"]


def key(of: str = OLD, operation: str = "k") -> str:
    return f"concat('resubmit:', {of}, ':{operation}')"


def submission(**changes: str) -> str:
    """Return the statement that inserts the new execution, which copies the digest of the old one."""
    digest = f"(SELECT input_digest FROM executions_execution WHERE id = {OLD})"
    values = {**NEW_EXECUTION, "id": f"{NEW}::uuid", "execution_key": key(), "input_digest": digest, **changes}
    row = NewRow("executions_execution", values, {})
    return with_event(row.statement({}))


def written(**changes: str) -> str:
    """Return the script that inserts the link and then the new execution with `changes`."""
    return "{insert}; " + submission(**changes)


def item(kind: str = "resubmit", of: str = "dead", **changes: str) -> str:
    """Return the statements that insert a campaign with one item."""
    campaign = NEW_CAMPAIGN.statement({"kind": f"'{kind}'", **changes})
    return f"""{campaign}; INSERT INTO executions_campaignitem (campaign_id, execution_id, expected_version)
        VALUES ({CAMPAIGN}, {execution(of)}, {version(of)})"""


SKIP = f"UPDATE executions_campaignitem SET outcome = 'SKIPPED' WHERE campaign_id = {CAMPAIGN}"
NAMED = {"release_id": release("0.5"), "release_version": "'0.5'"}
"""The pin of a registered release that is not active."""
RESUBMISSION = NewRow(
    "executions_resubmission",
    {
        "new_execution_id": f"{NEW}::uuid",
        "execution_id": OLD,
        "execution_version": version("dead"),
        "operation_key": "'k'",
        "campaign_id": "NULL::uuid",
        "edited": "false",
        "checkpoint_step": "NULL::int",
        "actor": "''",
        "reason": "''",
    },
    {
        "resubmission_of_finished": [
            *(
                {"execution_id": execution(old), "execution_version": version(old)}
                for old in ("queued", "running", "retried", "asking")
            ),
            *each("execution_id", "gen_random_uuid()"),
            *each("execution_version", f"{version('dead')} - 1", f"{version('dead')} + 1"),
        ],
        "resubmission_of_item": [
            *each("campaign_id", "gen_random_uuid()"),
            *(
                {"campaign_id": f"{CAMPAIGN}::uuid", "script": made + "; " + written()}
                for made in (
                    item("redrive"),
                    item(of="failed"),
                    item() + "; " + "UPDATE executions_campaignitem "
                    f"SET outcome = 'SKIPPED' WHERE campaign_id = {CAMPAIGN}",
                )
            ),
        ],
        "resubmission_creates_execution": [
            *each("operation_key", "'other'"),
            *each("edited", "true"),
            *each("new_execution_id", "gen_random_uuid()", execution("queued"), OLD),
            {"script": "{insert}"},
            {"script": written(execution_key="'new'")},
            {"script": written(execution_key=key(execution("failed")))},
            {"script": written(**IN_OTHER_PIPELINE)},
            {"script": written(tenant_id=tenant("rival"), release_id=release("1.0", "rival"))},
            {"script": written(input_digest="'other'")},
        ],
        "executions_resubmission_pkey": [
            {"new_execution_id": "(SELECT min(new_execution_id::text)::uuid FROM executions_resubmission)"}
        ],
        "resubmission_operation_once": [
            {
                "setup": f"""UPDATE executions_resubmission SET execution_id = {OLD}, operation_key = 'k'
                    WHERE execution_id = {execution("resubmitted")}"""
            },
        ],
        "resubmission_by_campaign_once": [
            {
                "campaign_id": f"{CAMPAIGN}::uuid",
                "setup": f"""UPDATE executions_resubmission SET execution_id = {OLD}
                    WHERE execution_id = {execution("resubmitted")}""",
                "script": item() + "; " + written(),
            },
        ],
        "execution_pin_exists": [
            {"script": f"{submission(**NAMED)}; {{insert}}"},
            *(
                {"script": written(**pin)}
                for pin in (
                    {"release_id": release("0.1"), "release_version": "'0.1'"},
                    {"release_id": release("0.2"), "release_version": "'0.2'"},
                    {"release_id": release("0.4"), "release_version": "'0.4'"},
                    {**NAMED, "tenant_id": tenant("other")},
                    {**NAMED, "pipeline_id": "'x'"},
                    {**NAMED, "contract_version": "'x'"},
                    {**NAMED, "release_version": "'x'"},
                )
            ),
        ],
    },
    [
        {"script": written(**NAMED)},
        {"edited": "true", "script": written(input_digest="'other'")},
        {"campaign_id": f"{CAMPAIGN}::uuid", "script": item() + "; " + written()},
        *(
            {
                "execution_id": execution(old),
                "execution_version": version(old),
                "script": written(execution_key=key(execution(old))),
            }
            for old in ("failed", "succeeded", "cancelled")
        ),
    ],
    free="actor reason",
    script=written(),
)
CHECKPOINT = {"current_step_index": "1", "progress": "'[2]'", "progress_shape": "'UNI'"}
CONTINUED = NewRow(
    "executions_resubmission",
    {**RESUBMISSION.values, "checkpoint_step": "1"},
    {
        "execution_starts_at_checkpoint": [
            *each("checkpoint_step", "NULL::int", "0", "2"),
            {"script": f"{submission(**CHECKPOINT)}; {{insert}}"},
            {"script": written(**CHECKPOINT, input_digest="'other'")},
            {"script": written(**CHECKPOINT, **IN_OTHER_PIPELINE)},
            {"script": written(**CHECKPOINT, tenant_id=tenant("rival"), release_id=release("1.0", "rival"))},
            *(
                {"script": written(**{**CHECKPOINT, **change})}
                for change in (
                    {"current_step_index": "2"},
                    {"progress": "'[3]'"},
                    {"progress": "NULL::jsonb", "progress_shape": "NULL::text"},
                    {"progress_shape": "'MULTI'"},
                )
            ),
        ],
        "resubmission_continues": [{"script": written()}],
        "resubmission_from_checkpoint": [*each("checkpoint_step", "-1"), *each("edited", "true")],
    },
    [{"script": written(**CHECKPOINT, **NAMED)}],
    script=written(**CHECKPOINT),
    setup=f"""UPDATE executions_execution SET current_step_index = 1, progress = '[2]', progress_shape = 'UNI'
        WHERE id = {OLD}""",
)
RESUBMISSIONS = [RESUBMISSION, CONTINUED]
