from tests.invariants.new_rows import OTHER_TIMES, NewRow, change, either, one_line, release, tenant
from tests.invariants.new_rows_of_releases import ACTIVE, NOT_REGISTERED, OTHER_PIPELINE, status_of
from tests.invariants.new_rows_of_releases import IN_OTHER_PIPELINE as OTHER_RELEASE
from tests.invariants.rows import GRADUAL_PIPELINE

UNIT = "'00000000-0000-4000-8000-000000000001'"
CONTRACT = "(SELECT contract_version FROM releases_release WHERE id = {})"
CONTEXT = f"'00-{'a' * 32}-{'b' * 16}-01'"
IN_OTHER_PIPELINE = f"""release_id = {OTHER_RELEASE} & pipeline_id = '{OTHER_PIPELINE}'
    & contract_version = {CONTRACT.format(OTHER_RELEASE)}"""
OF_RIVAL = f"tenant_id = {tenant('rival')} & release_id = {release('1.0', 'rival')}"
REPLACED = f"release_id = {release('0.5')} & release_version = '0.5'"
"""The pin of a registered release that is not active."""


def execution(key: str) -> str:
    return f"(SELECT id FROM executions_execution WHERE execution_key = '{key}' AND tenant_id = {tenant('owner')})"


def executions(*keys: str) -> str:
    return either(map(execution, keys))


def unit(key: str) -> str:
    return f"(SELECT id FROM executions_awaitunit WHERE execution_id = {execution(key)})"


def with_event(statement: str) -> str:
    return one_line(f"""WITH moved AS ({statement} RETURNING id, event_count, status)
        INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
        SELECT id, event_count, 'TRIED', status, '', '{{}}' FROM moved""")


def moved(target: str, changes: str = "finished_at = now()") -> str:
    """Return a statement that moves the RUNNING execution to `target`."""
    return with_event(f"""UPDATE executions_execution SET status = '{target}', version = version + 1,
        event_count = event_count + 1, lease_owner = NULL, lease_protocol = NULL, lease_worker = NULL,
        lease_token = NULL, lease_expires_at = NULL, running_since = NULL, error_code = 'E', error_message = 'm',
        {changes} WHERE execution_key = 'running'""")


SUCCEEDED = moved("SUCCEEDED", "finished_at = now(), result = '1'")


def of_gradual(version: str) -> str:
    """Return the pin to a release of the pipeline whose candidate is 5.0."""
    pinned = release(version, "owner", GRADUAL_PIPELINE)
    return f"""release_id = {pinned} & pipeline_id = '{GRADUAL_PIPELINE}'
        & contract_version = {CONTRACT.format(pinned)} & release_version = '{version}'"""


def was_active(*, minutes: int, grace: int = 0) -> str:
    """Return statements after which the active release has replaced 0.5 `minutes` ago, under a policy with a grace."""
    return one_line(f"""UPDATE releases_activation SET previous_id = {release("0.5")},
        activated_at = now() - interval '{minutes} minutes' WHERE release_id = {ACTIVE};
        UPDATE releases_pipeline SET skew_grace_minutes = {grace}""")


SUBMISSION = NewRow(
    "executions_execution",
    f"""
        release_id = {ACTIVE} & pipeline_id = 'org.example.orders' & contract_version = {CONTRACT.format(ACTIVE)}
        release_version = '1.0' & execution_key = 'new' & input = '1' & input_shape = 'UNI' & result_shape = 'SINGLE'
        progress = NULL::jsonb & progress_shape = NULL::text
    """,
    f"""
        execution_pin_exists: tenant_id = {tenant("other")} | {tenant("rival")} | 0
        release_id = {NOT_REGISTERED} | {release("0.5")} | {release("1.0", "rival")} | {OTHER_RELEASE} | 0
        pipeline_id = '{OTHER_PIPELINE}' | 'x'
        contract_version = 'x' | {CONTRACT.format(OTHER_RELEASE)}
        release_version = '0.5' | 'x'
        {REPLACED}
        {REPLACED} & setup = {was_active(minutes=1)} | {was_active(minutes=11, grace=10)}
        {REPLACED} & setup = {was_active(minutes=1, grace=10)}; {status_of("0.5", "REVOKED")}
        {of_gradual("1.0")}
        {of_gradual("3.0")}
        {of_gradual("4.0")}
        setup = {status_of("1.0", "UPLOADED", "VERIFYING", "REJECTED", "REVOKED")}
        setup = UPDATE releases_pipeline SET activation_id = NULL
        execution_counts_its_events: script = {{insert}}
        execution_starts_at_checkpoint: current_step_index = 1
        progress = '1' | 'null' & progress_shape = 'UNI'
        execution_smoke_has_test: smoke = true
        execution_parent_waits: parent_id = {execution("dead")} | gen_random_uuid()
        parent_id = {execution("dead")} & execution_key = concat('child:', {execution("dead")}, ':0')
        execution_start_possible: priority = 0 | 2 | -2
        not_before = now() + interval '367 days'
        not_before = now() + interval '1 hour' & expires_at = now() + interval '1 hour'
    """,
    f"""
        {IN_OTHER_PIPELINE} & execution_key = 'dead'
        {OF_RIVAL} & execution_key = 'dead'
        {REPLACED} & setup = {was_active(minutes=9, grace=10)}
        {of_gradual("2.0")}
        {of_gradual("5.0")}
        tags = '{{x}}'
        traceparent = {CONTEXT}
        priority = 1 | -1
        not_before = now() + interval '1 hour' & expires_at = now() + interval '2 hours'
        expires_at = now()
    """,
    script=with_event("{insert}"),
)
LEASED = "lease_owner = 'x' & lease_protocol = 'celery' & lease_token = gen_random_uuid() & lease_expires_at = now()"
START = NewRow(
    "executions_execution",
    f"{SUBMISSION.chosen}\n status = 'QUEUED' & version = 0 & attempt = 0 & event_count = 1",
    f"""
        execution_starts_queued: status = 'WAIT_RETRY'
        status = 'FAILED' | 'DLQ' | 'CANCELLED' & finished_at = now()
        status = 'SUCCEEDED' & finished_at = now() & result = '1'
        status = 'RUNNING' & {LEASED}
        version = 1 & event_count = 2
        attempt = 1
        event_count = 2
        execution_running_has_lease: status = 'RUNNING'
        execution_waiting_has_unit: status = 'WAITING_EXTERNAL'
        execution_success_has_result: status = 'SUCCEEDED'
        execution_terminal_has_finish: status = 'FAILED' | 'DLQ' | 'CANCELLED'
        execution_status_known: status = 'READY'
        execution_counts: version = 1 | -1
        attempt = -1
        event_count = 0
    """,
    script=with_event("{insert}"),
    ordinary=False,
)
DEAD_LETTER = NewRow(
    "executions_deadletter",
    """
        tenant_id = e.tenant_id & execution_id = e.id & execution_version = e.version & terminal_status = e.status
        transition_key = concat(e.id, ':', e.current_step_index, ':', e.attempt) & reason = 'retry_exhausted'
        error_code = e.error_code & error_message = e.error_message & retryable = true & retries_observed = e.attempt
        step_index = e.current_step_index
    """,
    f"""
        dead_letter_of_failure: tenant_id = {tenant("other")} | {tenant("rival")}
        execution_id = {execution("queued")}
        execution_id = {executions("dead", "failed")} & setup = DELETE FROM executions_deadletter
        execution_version = e.version - 1 | e.version + 1
        transition_key = 'x' | concat(e.id, ':', e.current_step_index, ':', e.attempt + 1)
        terminal_status = 'FAILED' | 'SUCCEEDED' | 'x'
        error_code = 'x'
        error_message = 'x'
        step_index = e.current_step_index + 1
        script = {moved("CANCELLED")}; {{insert}} | {SUCCEEDED}; {{insert}}
        setup = DELETE FROM executions_deadletter WHERE execution_id = {execution("dead")}
            & source = FROM executions_execution e WHERE e.execution_key = 'dead'
    """,
    f"script = {moved('FAILED')}; {{insert}}",
    source="FROM executions_execution e WHERE e.execution_key = 'running'",
    script=f"{moved('DLQ')}; {{insert}}",
)
AWAIT_UNIT = NewRow(
    "executions_awaitunit",
    f"id = {UNIT} & execution_id = {execution('running')} & expected_items = 1",
    f"""
        await_unit_of_waiting: id = gen_random_uuid()
        tenant_id = {tenant("other")} | {tenant("rival")}
        execution_id = {executions("queued", "answered", "dead", "cancelled")}
        script = {{insert}}
    """,
    script=f"{moved('WAITING_EXTERNAL', f'await_unit_id = {UNIT}')}; {{insert}}",
)
IN_OPEN_UNIT = f"unit_id = {unit('asking')} & execution_id = {execution('asking')}"
SECOND = f"UPDATE executions_interaction SET item_index = 7 WHERE unit_id = {unit('asking')}"


def ended(*statuses: str) -> str:
    """Return statements for each status that put the open unit into it."""
    change = "UPDATE executions_awaitunit SET status = '{}', answered_items = expected_items WHERE id = " + unit(
        "asking"
    )
    return either(f"{SECOND}; {change.format(status)}" for status in statuses)


INTERACTION = NewRow(
    "executions_interaction",
    f"""
        unit_id = {UNIT} & execution_id = {execution("running")} & item_index = NULL::int & request = '1'
        status = 'WAITING' & completed_at = NULL::timestamptz
    """,
    f"""
        interaction_starts: created_at = {OTHER_TIMES}
        updated_at = {OTHER_TIMES}
        version = 1 | -1
        dispatch_attempts = 1 | -1
        status = 'FAILED' | 'TIMED_OUT' | 'CANCELLED' | 'x'
        status = 'COMPLETED' & actor = '' & completed_at = now()
        interaction_of_open_unit: item_index = 0 | 1 | -1
        unit_id = gen_random_uuid()
        {IN_OPEN_UNIT} & setup = {ended("COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED")}
        interaction_of_its_unit: tenant_id = {tenant("other")} | {tenant("rival")} | 0
        execution_id = {executions("queued", "asking")} | gen_random_uuid()
    """,
    script=f"{AWAIT_UNIT.statement()}; {{insert}}",
)
ITEM = NewRow(
    "executions_interaction",
    f"{INTERACTION.chosen}\n item_index = 0",
    """
        interaction_of_open_unit: item_index = -1 | 2 | NULL::int
        item_index = n & source = FROM generate_series(0, 2) n | FROM generate_series(-1, 1) n
        item_index = nullif(n, 1) & source = FROM generate_series(0, 1) n
    """,
    script=f"{AWAIT_UNIT.statement('itemized = true & expected_items = 2')}; {{insert}}",
)
WIRE_INPUT = NewRow(
    "executions_wireform",
    f"execution_id = {execution('new')} & input = '1'",
    f"""
        wire_form_input_with_submission: execution_id = {executions("running", "succeeded", "dead")}
        wire_form_result_with_success: result = '1'
    """,
    script=f"{SUBMISSION.statement()}; {{insert}}",
)
WIRE_RESULT = NewRow(
    "executions_wireform",
    f"execution_id = {execution('running')} & result = '1'",
    f"""
        wire_form_result_with_success: execution_id = {executions("succeeded", "dead", "queued", "cancelled")}
        script = {{insert}} | {either(moved(status) + "; {insert}" for status in ("FAILED", "DLQ", "CANCELLED"))}
        wire_form_input_with_submission: input = '1'
    """,
    script=f"{SUCCEEDED}; {{insert}}",
)
SEARCH_VALUE = NewRow(
    "executions_searchvalue",
    f"""
        execution_id = {execution("new")} & pipeline_id = (SELECT pipeline_id FROM releases_release WHERE id = {ACTIVE})
        name = 'customer' & text = 'x' & number = NULL::numeric & time = NULL::timestamptz
    """,
    f"""
        search_value_with_submission: execution_id = {executions("running", "succeeded", "dead")}
        pipeline_id = (SELECT pipeline_id FROM releases_release WHERE id = {OTHER_RELEASE}) | 0
        search_value_is_one: text = '' | NULL::text
        number = 1
        time = now()
        text = NULL::text & number = 1 & time = now()
    """,
    script=f"{SUBMISSION.statement()}; {{insert}}",
)
STEP_REPORT = NewRow(
    "executions_stepreport",
    f"""
        execution_id = {execution("succeeded")} & lease_token = gen_random_uuid() & transition_key = 'x'
        done = 1 & total = 2 & message = '' & details = '1'::jsonb & lines = '[]'::jsonb
    """,
    f"""
        step_report_of_reported: execution_id = {executions("running", "dead")} | gen_random_uuid()
        step_report_counts: done = -1 | NULL::bigint
        total = -1
        step_report_lines: lines = (SELECT jsonb_agg(n) FROM generate_series(1, 201) n)
    """,
)
ITEM_GROUP = NewRow(
    "executions_itemgroup",
    f"""
        execution_id = {execution("running")} & step_index = 0 & attempt = 0 & first_item = 2 & items = '{{2,4}}'
        outputs = '[[1], []]' & total = 5 & failed = 1
    """,
    f"""
        item_group_of_running_step: execution_id = {executions("queued", "succeeded", "dead", "asking")}
        step_index = 1
        attempt = 1
        item_group_is_valid: first_item = 4
        items = '{{}}' | '{{4,2}}' | '{{2,2}}' | '{{2,3,4}}' | '{{2,5}}'
        items = '{{-2,4}}' & first_item = -2
        outputs = '[[1]]' | '[[1], 2]' | '{{}}'
        total = 4
        failed = 3 | -1
    """,
)
FAILED_ITEMS = NewRow(
    "executions_faileditems",
    f"""
        execution_id = {execution("running")} & step_index = 0 & failed = 2 & items = '[{{"index": 1}}]'
    """,
    f"""
        failed_items_of_running: execution_id = {executions("queued", "succeeded", "dead", "asking")}
        failed_items_are_valid: failed = 0
        items = '{{}}' | '[1]' | '[{{}}, {{}}, {{}}]'
    """,
)
FAILURE_GROUP = NewRow(
    "executions_failuregroup",
    f"""
        id = failure_group_id({ACTIVE}, 0, 'f') & tenant_id = {tenant("owner")} & release_id = {ACTIVE} & step_index = 0
        fingerprint = 'f' & error_code = 'x' & sample_message = '' & first_seen_at = now() & last_seen_at = now()
        acknowledged_by = '' & acknowledged_at = NULL::timestamptz & assignee = '' & note = ''
    """,
    f"""
        failure_group_computed_id: id = gen_random_uuid()
        release_id = {release("0.5")}
        step_index = 1
        fingerprint = 'g'
        failure_group_starts: first_seen_at = {OTHER_TIMES}
        last_seen_at = {OTHER_TIMES}
        assignee = 'eva'
        note = 'x'
        acknowledged_by = 'user:eva' & acknowledged_at = now()
    """,
    ordinary=False,
)
NEW_TEST = "'00000000-0000-4000-8000-000000000004'::uuid"


def tried(text: str = "") -> str:
    """Return the script that inserts the execution with a change and then the smoke test."""
    values = {"id": NEW_TEST, "smoke": "true", **change(text)}
    return SUBMISSION.statement(values) + "; {insert}"


SMOKE_TEST = NewRow(
    "executions_smoketest",
    f"execution_id = {NEW_TEST} & release_id = {ACTIVE} & expected_result = '[1]'",
    f"""
        smoke_test_starts: created_at = {OTHER_TIMES}
        smoke_test_expects_one_result: expected_result = '[]' | '[1, 2]' | '1' | '{{}}' | 'null'
        smoke_test_of_execution: execution_id = gen_random_uuid() | {execution("queued")}
        release_id = {release("0.5")} | {release("1.0", "rival")} | 0
        script = {tried("smoke = false")} | {{insert}}
        execution_pin_exists: script = {tried(f"release_id = {release('0.1')} & release_version = '0.1'")}
        script = {tried(f"release_id = {release('0.3')} & release_version = '0.3'")}
        script = {tried(f"{REPLACED} & tenant_id = {tenant('other')}")}
        script = {tried(f"{REPLACED} & contract_version = 'x'")}
    """,
    script=tried(),
)
RECEIPT = NewRow(
    "executions_admissionreceipt",
    f"""
        execution_id = {NEW_TEST} & release_id = {ACTIVE} & pipeline_id = 'org.example.orders' & client_key = 'k'
        intent_fingerprint = repeat('a', 64) & release_fingerprint = repeat('0', 64)
    """,
    f"""
        admission_receipt_fingerprints: intent_fingerprint = '' | repeat('A', 64) | repeat('a', 63)
        release_fingerprint = '' | repeat('g', 64)
        admission_receipt_of_execution: execution_id = gen_random_uuid() | {execution("queued")}
        release_id = {release("0.5")} | {release("1.0", "rival")} | 0
        tenant_id = {tenant("other")} | {tenant("rival")} | 0
        pipeline_id = '{OTHER_PIPELINE}' | 'x'
        client_key = 'K' | ''
        script = {tried("smoke = false & execution_key = 'execution admission:k'")} | {{insert}}
        admission_receipt_key_once: client_key = 'admitted'
    """,
    script=tried("smoke = false & execution_key = concat('execution', chr(160), 'admission:k')"),
)
EXECUTIONS = [
    SUBMISSION,
    START,
    DEAD_LETTER,
    AWAIT_UNIT,
    INTERACTION,
    ITEM,
    WIRE_INPUT,
    WIRE_RESULT,
    SEARCH_VALUE,
    STEP_REPORT,
    ITEM_GROUP,
    FAILED_ITEMS,
    FAILURE_GROUP,
    SMOKE_TEST,
    RECEIPT,
]
