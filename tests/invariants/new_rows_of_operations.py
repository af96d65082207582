"""Valid new rows of campaigns, workers and worker keys, and every wrong value of each."""

from tests.invariants.new_rows import PAST, NewRow, each, tenant, times
from tests.invariants.new_rows_of_executions import execution

CAMPAIGN = "'00000000-0000-4000-8000-000000000002'"
OLD_CAMPAIGN = "(SELECT campaign_id FROM executions_campaignevent GROUP BY campaign_id HAVING count(*) = 1)"
"""The campaign that is RUNNING and has only been started."""
BOUNDS = ("canary", "stop_after_failures")
HEALTHY = "(SELECT id FROM executions_worker WHERE noted_state = 'HEALTHY')"
NEW_CAMPAIGN = NewRow(
    "executions_campaign",
    {
        "id": CAMPAIGN,
        "tenant_id": tenant("owner"),
        "kind": "'redrive'",
        "target_release_version": "''",
        "start_from": "'input'",
        "filters": "'{}'",
        "allow_failed": "true",
        "revoked_releases": "'{}'",
        "reason": "'x'",
        "rate_per_minute": "1",
        "canary": "NULL::int",
        "canary_over": "false",
        "stop_after_failures": "NULL::int",
        "failures_accepted": "0",
        "cut": "false",
        "status": "'RUNNING'",
        "cause": "''",
        "rate_since": "now()",
        "admitted": "0",
        "created_by": "''",
        "created_at": "now()",
        "finished_at": "NULL::timestamptz",
    },
    {
        "campaign_starts": [
            *times("created_at", "rate_since"),
            *each("status", "'PAUSED'"),
            {"status": "'COMPLETED'", "finished_at": "now()"},
            {"status": "'CANCELLED'", "finished_at": "now()"},
            *each("admitted", "1"),
            *each("failures_accepted", "1"),
            {"canary": "1", "canary_over": "true"},
        ],
        "campaign_bounds": [
            *each("canary", "0"),
            *each("stop_after_failures", "0"),
            *({"kind": f"'{kind}'", column: "1"} for kind in ("cancel", "pause") for column in BOUNDS),
        ],
        "executions_campaign_failures_accepted_check": each("failures_accepted", "-1"),
        "campaign_over_canary": each("canary_over", "true"),
        "campaign_cause_of_pause": [
            *each("cause", "'canary'", "'failures'", "'x'"),
            {"cause": "'canary'", "canary": "1"},
        ],
        "campaign_over_has_finish": [
            *each("finished_at", "now()"),
            *each("status", "'COMPLETED'", "'CANCELLED'", "'x'"),
        ],
        "campaign_target_of_resubmission": [
            *each("kind", "'x'", "''"),
            *each("target_release_version", "'1.0'"),
            *({"kind": f"'{kind}'", "target_release_version": "'1.0'"} for kind in ("cancel", "pause")),
        ],
        "campaign_start_of_resubmission": [
            *each("start_from", "'checkpoint'", "'x'", "''"),
            {"kind": "'resubmit'", "start_from": "'x'"},
        ],
        "campaign_rate_positive": each("rate_per_minute", "0"),
        "executions_campaign_admitted_check": each("admitted", "-1"),
        "executions_campaign_pkey": each("id", OLD_CAMPAIGN),
    },
    [
        {"kind": "'resubmit'"},
        *({"kind": f"'{kind}'"} for kind in ("cancel", "pause")),
        {"status": "'DRAFT'"},
        {"canary": "1", "stop_after_failures": "1", "cut": "true"},
        {"kind": "'resubmit'", "target_release_version": "'1.0'", "start_from": "'checkpoint'"},
    ],
    free="tenant_id filters allow_failed revoked_releases reason cut created_by",
)


def version(key: str) -> str:
    return f"(SELECT version FROM executions_execution WHERE id = {execution(key)})"


def items(*keys: str) -> str:
    names = ", ".join(f"'{key}'" for key in keys)
    return f"FROM executions_execution e WHERE e.tenant_id = {tenant('owner')} AND e.execution_key IN ({names})"


CAMPAIGN_ITEM = NewRow(
    "executions_campaignitem",
    {"campaign_id": f"{CAMPAIGN}::uuid", "execution_id": "e.id", "expected_version": "e.version"},
    {
        "campaign_items_with_campaign": [
            {"campaign_id": OLD_CAMPAIGN, "setup": "DELETE FROM executions_campaignitem"},
            *each("campaign_id", "gen_random_uuid()"),
            *each("execution_id", "gen_random_uuid()", execution("queued")),
            *({"source": items(key)} for key in ("queued", "running", "retried", "asking", "succeeded", "cancelled")),
            *each("expected_version", "e.version - 1", "e.version + 1"),
            *(
                {"script": NEW_CAMPAIGN.statement({"tenant_id": tenant(other)}) + "; {insert}"}
                for other in ("other", "rival")
            ),
            {"source": items("dead", "failed", "queued")},
            *(
                {"source": items(key), "script": NEW_CAMPAIGN.statement({"kind": f"'{kind}'"}) + "; {insert}"}
                for kind in ("cancel", "pause")
                for key in ("dead", "failed", "succeeded", "cancelled")
            ),
        ],
        "campaign_item_names_execution": each("execution_id", "NULL"),
        "campaign_item_once": [
            {"source": items("dead") + " UNION ALL SELECT " + f"{CAMPAIGN}::uuid, e.id, e.version {items('dead')}"}
        ],
    },
    [
        {"source": items("failed")},
        {"source": items("dead", "failed")},
        *(
            {"source": items(key), "script": NEW_CAMPAIGN.statement({"kind": f"'{kind}'"}) + "; {insert}"}
            for kind in ("cancel", "pause")
            for key in ("queued", "running", "retried", "asking")
        ),
    ],
    source=items("dead"),
    script=NEW_CAMPAIGN.statement({}) + "; {insert}",
)
CAMPAIGN_EVENT = NewRow(
    "executions_campaignevent",
    {"campaign_id": OLD_CAMPAIGN, "kind": "'PAUSED'", "actor": "''", "data": "'{}'", "at": "now()"},
    {
        "campaign_event_starts": times("at"),
        "campaign_event_of_change": [
            *each("kind", "'STARTED'", "'RESUMED'", "'COMPLETED'", "'CANCELLED'", "'x'"),
            *each("campaign_id", "gen_random_uuid()"),
            {"script": "{insert}"},
        ],
    },
    free="actor data",
    script=f"UPDATE executions_campaign SET status = 'PAUSED' WHERE id = {OLD_CAMPAIGN}; {{insert}}",
)
WORKER = NewRow(
    "executions_worker",
    {
        "tenant_id": tenant("owner"),
        "pipeline_id": "'org.example.orders'",
        "worker_id": "'new'",
        "contract_version": "''",
        "release_version": "''",
        "protocol": "'celery'",
        "endpoint": "''",
        "artifact_id": "''",
        "artifact_digest": "''",
        "code": "''",
        "environment_fingerprint": "''",
        "environment": "NULL",
        "capacity": "1",
        "taking": "true",
        "holding": "0",
        "running": "0",
        "abandoned": "0",
        "transition_seconds": "NULL",
        "registered_at": "now()",
        "last_heartbeat_at": "now()",
        "last_sent_at": "now()",
        "draining_since": "NULL",
        "drained_by_operator_at": "NULL",
        "stopped_at": "NULL",
        "noted_state": "''",
        "alive_until": "NULL",
        "blocked_reason": "''",
        "capability_checked_at": "NULL",
        "capability_error": "''",
        "capability_claimed_at": "NULL",
        "unanswered_checks": "0",
    },
    {
        "worker_once": each("worker_id", "'worker-1'"),
        "worker_code_known": each("code", "'folder'"),
        "worker_capacity_positive": each("capacity", "0"),
        "executions_worker_holding_check": each("holding", "-1"),
        "executions_worker_running_check": each("running", "-1"),
        "executions_worker_abandoned_check": each("abandoned", "-1"),
        "executions_worker_unanswered_checks_check": each("unanswered_checks", "-1"),
    },
    [
        {"worker_id": "'worker-1'", "tenant_id": tenant("other")},
        {"worker_id": "'worker-1'", "pipeline_id": "'org.example.other'"},
        *each("code", "'artifact'", "'source'", "'image'"),
    ],
    free="""
        tenant_id pipeline_id contract_version release_version protocol endpoint artifact_id artifact_digest
        environment_fingerprint environment taking transition_seconds registered_at last_heartbeat_at last_sent_at
        draining_since drained_by_operator_at stopped_at noted_state alive_until blocked_reason capability_checked_at
        capability_error capability_claimed_at
    """,
)
WORKER_EVENT = NewRow(
    "executions_workerevent",
    {"worker_id": HEALTHY, "state": "'HEALTHY'", "actor": "''", "data": "'{}'", "at": "now()"},
    {
        "worker_event_starts": times("at"),
        "worker_event_of_state": [
            *each("state", "'STALE'", "'DRAINING'", "'UNAVAILABLE'", "''"),
            *each("worker_id", f"(SELECT id FROM executions_worker WHERE tenant_id = {tenant('rival')})", "0"),
        ],
    },
    free="actor data",
)
FIRST_CHANGE = "UPDATE executions_workerkeychange SET newest = 3, oldest = 3"
WORKER_KEY = NewRow(
    "executions_workerkeychange",
    {
        "tenant_id": tenant("owner"),
        "number": "2",
        "newest": "2",
        "oldest": "2",
        "actor": "''",
        "reason": "''",
        "at": PAST,
    },
    {
        "worker_key_change_follows": [
            *each("number", "0", "1", "3", "-1"),
            {"newest": "1", "oldest": "1"},
            *each("oldest", "0", "-1"),
            {"setup": FIRST_CHANGE, "newest": "3", "oldest": "2"},
            {"setup": FIRST_CHANGE, "newest": "2", "oldest": "3"},
            {"setup": FIRST_CHANGE},
            {"setup": FIRST_CHANGE, "number": "3", "newest": "3", "oldest": "3"},
            *({"tenant_id": tenant("other"), "number": number} for number in ("0", "2", "3")),
            *({"tenant_id": tenant("other"), "number": "1", "newest": key, "oldest": "0"} for key in ("0", "1")),
        ],
        "worker_key_two_active": [{"newest": "4"}, {"newest": "3", "oldest": "4"}],
    },
    [
        {"oldest": "1"},
        {"newest": "3"},
        {"newest": "3", "oldest": "3"},
        {"setup": FIRST_CHANGE, "newest": "4", "oldest": "3"},
        {"tenant_id": tenant("other"), "number": "1", "oldest": "1"},
        {"tenant_id": tenant("other"), "number": "1", "newest": "1", "oldest": "1"},
    ],
    free="actor reason at",
)
MESSAGE_PATH = NewRow(
    "executions_messagepath",
    {"id": "1", "arrived_at": "now()", "expected_by": "now() + interval '1 microsecond'"},
    {
        "message_path_once": each("id", "2", "0"),
        "message_path_expects_more": [
            *each("expected_by", "now()", PAST),
            *each("arrived_at", "now() + interval '1 microsecond'"),
        ],
    },
    setup="DELETE FROM executions_messagepath",
)
COUNTED = "SELECT {} FROM executions_finishedcount"
FINISHED_COUNT = NewRow(
    "executions_finishedcount",
    {
        "release_id": f"({COUNTED.format('release_id')})",
        "minute": f"({COUNTED.format('minute')}) + interval '1 minute'",
        **dict.fromkeys(("succeeded", "failed", "cancelled"), "0"),
    },
    {
        "finished_count_once": each("minute", f"({COUNTED.format('minute')})"),
        "finished_count_of_a_minute": each(
            "minute", *(f"({COUNTED.format('minute')}) + interval '{more}'" for more in ("1 second", "1 microsecond"))
        ),
        **{
            f"executions_finishedcount_{column}_check": each(column, "-1")
            for column in ("succeeded", "failed", "cancelled")
        },
    },
    free="release_id",
)
REPORTED = "(SELECT {} FROM coordinator_process)"
PROCESS = NewRow(
    "coordinator_process",
    {
        "kind": "'clock'",
        "host": REPORTED.format("host"),
        "pid": REPORTED.format("pid"),
        "version": "''",
        "started_at": "now()",
        "reported_at": "now()",
        "drift_seconds": "-0.5",
    },
    {
        "process_once": each("kind", "'web'"),
        "process_kind_known": each("kind", "'worker'", "''"),
        "coordinator_process_pid_check": each("pid", "-1"),
    },
    free="host version started_at reported_at drift_seconds",
)
OPERATIONS = [
    *(NEW_CAMPAIGN, CAMPAIGN_ITEM, CAMPAIGN_EVENT),
    *(WORKER, WORKER_EVENT, WORKER_KEY, MESSAGE_PATH, FINISHED_COUNT, PROCESS),
]
