"""Valid new rows of executions and their related tables, and every wrong value of each."""

from tests.invariants.new_rows import Change, NewRow, each, release, tenant, times
from tests.invariants.new_rows_of_releases import NOT_REGISTERED, OTHER_PIPELINE, status_of
from tests.invariants.rows import GRADUAL_PIPELINE

UNIT = "'00000000-0000-4000-8000-000000000001'"
ACTIVE = release("1.0")
OTHER_RELEASE = release("1.0", "owner", OTHER_PIPELINE)
CONTRACT = "(SELECT contract_version FROM releases_release WHERE id = {})"


def execution(key: str) -> str:
    return f"(SELECT id FROM executions_execution WHERE execution_key = '{key}' AND tenant_id = {tenant('owner')})"


def unit(key: str) -> str:
    return f"(SELECT id FROM executions_awaitunit WHERE execution_id = {execution(key)})"


def with_event(change: str) -> str:
    """Return the statement `change`, which writes executions, extended by an event for each execution."""
    return f"""WITH moved AS ({change} RETURNING id, event_count, status)
        INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
        SELECT id, event_count, 'TRIED', status, '', '{{}}' FROM moved"""


def moved(target: str, changes: str = "finished_at = now()") -> str:
    """Return a statement that moves the RUNNING execution to `target`."""
    return with_event(f"""UPDATE executions_execution SET status = '{target}', version = version + 1,
        event_count = event_count + 1, lease_owner = NULL, lease_protocol = NULL, lease_worker = NULL,
        lease_token = NULL, lease_expires_at = NULL, running_since = NULL, error_code = 'E', error_message = 'm',
        {changes} WHERE execution_key = 'running'""")


CONTEXT = f"'00-{'a' * 32}-{'b' * 16}-01'"
MALFORMED_CONTEXTS = ("''", "'x'", CONTEXT.replace("00-", "01-"), CONTEXT.replace("a", "A"))
PARKED = moved("WAITING_EXTERNAL", f"await_unit_id = {UNIT}")
NEW_EXECUTION = {
    "id": "gen_random_uuid()",
    "tenant_id": tenant("owner"),
    "release_id": ACTIVE,
    "pipeline_id": "'org.example.orders'",
    "contract_version": CONTRACT.format(ACTIVE),
    "release_version": "'1.0'",
    "execution_key": "'new'",
    "input_digest": "''",
    "input": "'1'",
    "input_shape": "'UNI'",
    "result_shape": "'SINGLE'",
    "checkpoints": "false",
    "smoke": "false",
    "submitted_by": "''",
    "current_step_index": "0",
    "progress": "NULL::jsonb",
    "progress_shape": "NULL::text",
    "tags": "NULL",
    "traceparent": "NULL",
}
IN_OTHER_PIPELINE = {
    "release_id": OTHER_RELEASE,
    "pipeline_id": f"'{OTHER_PIPELINE}'",
    "contract_version": CONTRACT.format(OTHER_RELEASE),
}


def of_gradual(version: str) -> Change:
    """Return the pin to a release of the pipeline whose candidate is 5.0."""
    pinned = release(version, "owner", GRADUAL_PIPELINE)
    return {
        "release_id": pinned,
        "pipeline_id": f"'{GRADUAL_PIPELINE}'",
        "contract_version": CONTRACT.format(pinned),
        "release_version": f"'{version}'",
    }


OF_RIVAL = {"tenant_id": tenant("rival"), "release_id": release("1.0", "rival")}
REPLACED = {"release_id": release("0.5"), "release_version": "'0.5'"}


def was_active(*, minutes: int, grace: int = 0) -> str:
    """Return statements after which the active release has replaced 0.5 `minutes` ago, under a policy with a grace."""
    return f"""UPDATE releases_activation SET previous_id = {release("0.5")},
        activated_at = now() - interval '{minutes} minutes' WHERE release_id = {ACTIVE};
        UPDATE releases_pipeline SET skew_grace_minutes = {grace}"""


SUBMISSION = NewRow(
    "executions_execution",
    NEW_EXECUTION,
    {
        "execution_pin_exists": [
            *each("tenant_id", tenant("other"), tenant("rival"), "0"),
            *each("release_id", *(release(version) for version in (*NOT_REGISTERED, "0.5"))),
            *each("release_id", release("1.0", "rival"), release("1.0", "owner", OTHER_PIPELINE), "0"),
            *each("pipeline_id", f"'{OTHER_PIPELINE}'", "'x'"),
            *each("contract_version", "'x'", IN_OTHER_PIPELINE["contract_version"]),
            *each("release_version", "'0.5'", "'x'"),
            {"release_id": release("0.5"), "release_version": "'0.5'"},
            *({**REPLACED, "setup": history} for history in (was_active(minutes=1), was_active(minutes=11, grace=10))),
            {**REPLACED, "setup": f"{was_active(minutes=1, grace=10)}; {status_of('0.5', 'REVOKED')}"},
            *(of_gradual(version) for version in ("1.0", "3.0", "4.0")),
            *each("setup", *(status_of("1.0", status) for status in ("UPLOADED", "VERIFYING", "REJECTED", "REVOKED"))),
            *each("setup", "UPDATE releases_pipeline SET activation_id = NULL"),
        ],
        "execution_tags_count": each("tags", "'{}'"),
        "execution_traceparent_form": each("traceparent", *MALFORMED_CONTEXTS),
        "execution_key_once": each("execution_key", "'succeeded'", "'cancelled'", "'dead'", "'running'"),
        "executions_execution_pkey": each("id", execution("dead")),
        "execution_counts_its_events": each("script", "{insert}"),
        "execution_starts_at_checkpoint": [
            *each("current_step_index", "1"),
            *({"progress": value, "progress_shape": "'UNI'"} for value in ("'1'", "'null'")),
        ],
        "execution_progress_has_shape": [*each("progress", "'1'"), *each("progress_shape", "'UNI'", "'x'")],
        "execution_counts": each("current_step_index", "-1"),
        "execution_smoke_has_test": each("smoke", "true"),
    },
    [
        {**IN_OTHER_PIPELINE, "execution_key": "'dead'"},
        {**OF_RIVAL, "execution_key": "'dead'"},
        {**REPLACED, "setup": was_active(minutes=9, grace=10)},
        *(of_gradual(version) for version in ("2.0", "5.0")),
        *each("tags", "'{x}'"),
        *each("traceparent", CONTEXT),
    ],
    free="input_digest input input_shape result_shape checkpoints submitted_by",
    script=with_event("{insert}"),
)
START = NewRow(
    "executions_execution",
    {**NEW_EXECUTION, "status": "'QUEUED'", "version": "0", "attempt": "0", "event_count": "1"},
    {
        "execution_starts_queued": [
            *each("status", "'RUNNING'", "'WAIT_RETRY'", "'WAITING_EXTERNAL'", "'SUCCEEDED'", "'FAILED'", "'DLQ'"),
            *each("status", "'CANCELLED'", "'READY'"),
            *each("version", "1", "-1"),
            *each("attempt", "1", "-1"),
            *each("event_count", "0", "2"),
        ],
    },
    free="id tenant_id release_id pipeline_id contract_version release_version execution_key",
    script=with_event("{insert}"),
    ordinary=False,
)
DEAD_LETTER = NewRow(
    "executions_deadletter",
    {
        "tenant_id": "e.tenant_id",
        "execution_id": "e.id",
        "execution_version": "e.version",
        "transition_key": "concat(e.id, ':', e.current_step_index, ':', e.attempt)",
        "terminal_status": "e.status",
        "reason": "'retry_exhausted'",
        "error_code": "e.error_code",
        "error_message": "e.error_message",
        "retryable": "true",
        "retries_observed": "e.attempt",
        "step_index": "e.current_step_index",
    },
    {
        "dead_letter_of_failure": [
            *each("tenant_id", tenant("other"), tenant("rival")),
            *each("execution_id", execution("queued")),
            *(
                {"execution_id": execution(key), "setup": "DELETE FROM executions_deadletter"}
                for key in ("dead", "failed")
            ),
            *each("execution_version", "e.version - 1", "e.version + 1"),
            *each("transition_key", "'x'", "concat(e.id, ':', e.current_step_index, ':', e.attempt + 1)"),
            *each("transition_key", "concat(e.id, ':', e.current_step_index + 1, ':', e.attempt)"),
            *each("transition_key", "concat(gen_random_uuid(), ':', e.current_step_index, ':', e.attempt)"),
            *each("terminal_status", "'FAILED'", "'SUCCEEDED'", "'x'"),
            *each("error_code", "'x'"),
            *each("error_message", "'x'"),
            *each("retries_observed", "e.attempt + 1", "e.attempt - 1"),
            *each("step_index", "e.current_step_index + 1"),
            {"script": moved("CANCELLED") + "; {insert}"},
            {"script": moved("SUCCEEDED", "finished_at = now(), result = '1'") + "; {insert}"},
            {
                "setup": f"DELETE FROM executions_deadletter WHERE execution_id = {execution('dead')}",
                "source": "FROM executions_execution e WHERE e.execution_key = 'dead'",
            },
        ],
        "dead_letter_once": [{"script": moved("DLQ") + "; {insert}; {insert}"}],
    },
    [{"script": moved("FAILED") + "; {insert}"}],
    free="reason retryable",
    source="FROM executions_execution e WHERE e.execution_key = 'running'",
    script=moved("DLQ") + "; {insert}",
)
AWAIT_UNIT = NewRow(
    "executions_awaitunit",
    {
        "id": UNIT,
        "tenant_id": tenant("owner"),
        "execution_id": execution("running"),
        "step_id": "''",
        "step_index": "0",
        "itemized": "false",
        "gives_many": "false",
        "expected_items": "1",
        "worker_name": "NULL",
        "traceparent": "NULL",
    },
    {
        "await_unit_traceparent_form": each("traceparent", *MALFORMED_CONTEXTS),
        "await_unit_of_waiting": [
            *each("id", "gen_random_uuid()"),
            *each("tenant_id", tenant("other"), tenant("rival")),
            *each("execution_id", *map(execution, ("queued", "answered", "dead", "cancelled"))),
            {"script": "{insert}"},
        ],
        "await_unit_one_open": each("execution_id", execution("asking")),
        "await_unit_counts": [*each("expected_items", "0", "-1"), *each("step_index", "-1")],
        "executions_awaitunit_pkey": each("id", unit("answered")),
    },
    [*each("expected_items", "2"), *each("step_index", "1"), *each("traceparent", CONTEXT)],
    free="step_id itemized gives_many worker_name",
    script=f"{PARKED}; {{insert}}",
)
NEW_UNIT = AWAIT_UNIT.statement({})
NEW_INTERACTION = {
    "id": "gen_random_uuid()",
    "tenant_id": tenant("owner"),
    "unit_id": UNIT,
    "execution_id": execution("running"),
    "step_id": "''",
    "step_index": "0",
    "item_index": "NULL::int",
    "worker_name": "NULL",
    "correlation_id": "''",
    "transport": "''",
    "transport_metadata": "'{}'",
    "request": "'1'",
    "output_type": "''",
    "assignee": "NULL",
    "group": "NULL",
    "deadline": "now()",
    "created_at": "now()",
    "status": "'WAITING'",
    "version": "0",
    "response": "NULL",
    "actor": "NULL",
    "completed_at": "NULL::timestamptz",
    "dispatch_attempts": "0",
    "next_dispatch_at": "NULL",
    "last_dispatch_error": "''",
    "updated_at": "now()",
}
TO_OPEN_UNIT = {
    "unit_id": unit("asking"),
    "execution_id": execution("asking"),
    "setup": f"UPDATE executions_interaction SET item_index = 7 WHERE unit_id = {unit('asking')}",
}
INTERACTION = NewRow(
    "executions_interaction",
    NEW_INTERACTION,
    {
        "interaction_starts": [
            *times("created_at", "updated_at"),
            *each("version", "1", "-1"),
            *each("dispatch_attempts", "1", "-1"),
            *each("status", "'FAILED'", "'TIMED_OUT'", "'CANCELLED'", "'x'"),
            {"status": "'COMPLETED'", "actor": "''", "completed_at": "now()"},
        ],
        "interaction_completed_by_somebody": [
            *each("status", "'COMPLETED'"),
            *each("actor", "''"),
            *each("completed_at", "now()"),
            *each("response", "'1'"),
            {"status": "'COMPLETED'", "actor": "''"},
            {"status": "'COMPLETED'", "completed_at": "now()"},
        ],
        "interaction_of_open_unit": [
            *each("item_index", "0", "1", "-1"),
            *each("unit_id", "gen_random_uuid()"),
            *(
                TO_OPEN_UNIT
                | {
                    "setup": f"{TO_OPEN_UNIT['setup']}; UPDATE executions_awaitunit SET status = '{status}', "
                    f"answered_items = expected_items WHERE id = {unit('asking')}"
                }
                for status in ("COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED")
            ),
        ],
        "interaction_of_its_unit": [
            *each("tenant_id", tenant("other"), tenant("rival"), "0"),
            *each("execution_id", execution("queued"), execution("asking"), "gen_random_uuid()"),
        ],
        "interaction_item_once": [{"script": f"{NEW_UNIT}; {{insert}}; {{insert}}"}],
        "executions_interaction_pkey": each("id", "(SELECT id FROM executions_interaction LIMIT 1)"),
    },
    [*each("status", "'DISPATCHING'", "'DISPATCHED'"), TO_OPEN_UNIT],
    free="""
        step_id step_index worker_name correlation_id transport transport_metadata request output_type assignee group
        deadline next_dispatch_at last_dispatch_error
    """,
    script=f"{NEW_UNIT}; {{insert}}",
)
ITEMIZED = AWAIT_UNIT.statement({"itemized": "true", "expected_items": "2"})
ITEM = NewRow(
    "executions_interaction",
    {**NEW_INTERACTION, "item_index": "0"},
    {
        "interaction_of_open_unit": [
            *each("item_index", "-1", "2", "NULL::int"),
            {"item_index": "n", "source": "FROM generate_series(0, 2) n"},
            {"item_index": "n", "source": "FROM generate_series(-1, 1) n"},
            {"item_index": "nullif(n, 1)", "source": "FROM generate_series(0, 1) n"},
        ],
        "interaction_item_once": [{"script": f"{ITEMIZED}; {{insert}}; {{insert}}"}],
    },
    [*each("item_index", "1"), {"item_index": "n", "source": "FROM generate_series(0, 1) n"}],
    free=" ".join(name for name in NEW_INTERACTION if name != "item_index"),
    script=f"{ITEMIZED}; {{insert}}",
)
WIRE_INPUT = NewRow(
    "executions_wireform",
    {"execution_id": execution("new"), "input": "'1'", "result": "NULL::jsonb"},
    {
        "wire_form_input_with_submission": each("execution_id", *map(execution, ("running", "succeeded", "dead"))),
        "wire_form_result_with_success": each("result", "'1'"),
        "executions_wireform_pkey": each("execution_id", execution("queued")),
    },
    each("input", "NULL"),
    free="input",
    script=f"{SUBMISSION.statement({})}; {{insert}}",
)
WIRE_RESULT = NewRow(
    "executions_wireform",
    {"execution_id": execution("running"), "input": "NULL::jsonb", "result": "'1'"},
    {
        "wire_form_result_with_success": [
            *each("execution_id", *map(execution, ("succeeded", "dead", "queued", "cancelled"))),
            *({"script": f"{moved(status)}; {{insert}}"} for status in ("FAILED", "DLQ", "CANCELLED")),
            {"script": "{insert}"},
        ],
        "wire_form_input_with_submission": each("input", "'1'"),
    },
    free="result",
    script=moved("SUCCEEDED", "finished_at = now(), result = '1'") + "; {insert}",
)
EXECUTIONS = [SUBMISSION, START, DEAD_LETTER, AWAIT_UNIT, INTERACTION, ITEM, WIRE_INPUT, WIRE_RESULT]
