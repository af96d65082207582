from tests.invariants.new_rows import OTHER_TIMES, NewRow, change, either, one_line, pipeline, release, tenant
from tests.invariants.new_rows_of_executions import (
    IN_OTHER_PIPELINE,
    OF_RIVAL,
    REPLACED,
    SUBMISSION,
    execution,
    executions,
    was_active,
)
from tests.invariants.new_rows_of_releases import paused

# --- campaigns ---

CAMPAIGN = "'00000000-0000-4000-8000-000000000002'"
OLD_CAMPAIGN = "(SELECT campaign_id FROM executions_campaignevent GROUP BY campaign_id HAVING count(*) = 1)"
"""The campaign that is RUNNING and has only been started."""
NEW_CAMPAIGN = NewRow(
    "executions_campaign",
    f"""
        id = {CAMPAIGN} & kind = 'redrive' & start_from = 'input' & allow_failed = true & reason = 'x'
        rate_per_minute = 1 & canary = NULL::int & stop_after_failures = NULL::int & status = 'RUNNING'
        finished_at = NULL::timestamptz
    """,
    f"""
        campaign_starts: created_at = {OTHER_TIMES}
        rate_since = {OTHER_TIMES}
        status = 'PAUSED'
        status = 'COMPLETED' | 'CANCELLED' & finished_at = now()
        admitted = 1
        failures_accepted = 1
        canary = 1 & canary_over = true
        selected = 1
        starts = true
    """,
    "status = 'DRAFT' | 'DRAFTING'",
)


def version(key: str) -> str:
    return f"(SELECT version FROM executions_execution WHERE id = {execution(key)})"


def items(*keys: str) -> str:
    names = ", ".join(f"'{key}'" for key in keys)
    return f"FROM executions_execution e WHERE e.tenant_id = {tenant('owner')} AND e.execution_key IN ({names})"


def campaigns(*changes: str) -> str:
    """Return scripts that insert a campaign with one of the changes, and then its items."""
    return either(f"{NEW_CAMPAIGN.statement(text)}; {{insert}}" for text in changes)


OF_KIND = campaigns("kind = 'cancel'", "kind = 'pause'")
OF_STRANGER = campaigns(f"tenant_id = {tenant('other')}", f"tenant_id = {tenant('rival')}")
CAMPAIGN_ITEM = NewRow(
    "executions_campaignitem",
    f"campaign_id = {CAMPAIGN}::uuid & execution_id = e.id & expected_version = e.version",
    f"""
        campaign_items_with_campaign: campaign_id = {OLD_CAMPAIGN} & setup = DELETE FROM executions_campaignitem
        campaign_id = gen_random_uuid()
        execution_id = gen_random_uuid() | {execution("queued")}
        source = {either(map(items, ("queued", "running", "retried", "asking", "succeeded", "cancelled")))}
        expected_version = e.version - 1 | e.version + 1
        script = {OF_STRANGER}
        source = {items("dead", "failed", "queued")}
        source = {either(map(items, ("dead", "failed", "succeeded", "cancelled")))} & script = {OF_KIND}
    """,
    source=items("dead"),
    script=campaigns(""),
)
DRAFTING = NEW_CAMPAIGN.statement("status = 'DRAFTING'")
CAMPAIGN_BATCH = NewRow(
    "executions_campaignbatch",
    f"campaign_id = {CAMPAIGN}::uuid & executions = ARRAY[{execution('dead')}] & versions = ARRAY[{version('dead')}]",
    f"""
        campaign_batches_with_campaign: campaign_id = {OLD_CAMPAIGN} & script = {{insert}}
        script = {NEW_CAMPAIGN.statement("status = 'DRAFT'")}; {{insert}}
        script = {NEW_CAMPAIGN.statement("status = 'DRAFTING' & kind = 'cancel'")}; {{insert}}
        script = {NEW_CAMPAIGN.statement(f"status = 'DRAFTING' & tenant_id = {tenant('rival')}")}; {{insert}}
        executions = ARRAY[gen_random_uuid()] | ARRAY[{execution("queued")}] | ARRAY[NULL]::uuid[]
        versions = ARRAY[{version("dead")} + 1] | ARRAY[NULL]::bigint[] | ARRAY[{version("dead")}, 0]
        campaign_batch_selects: executions = ARRAY[]::uuid[]
    """,
    script=f"{DRAFTING}; {{insert}}",
)
CAMPAIGN_EVENT = NewRow(
    "executions_campaignevent",
    f"campaign_id = {OLD_CAMPAIGN} & kind = 'PAUSED'",
    f"""
        campaign_event_starts: at = {OTHER_TIMES}
        campaign_event_of_change: kind = 'STARTED' | 'RESUMED' | 'COMPLETED' | 'CANCELLED' | 'x'
        campaign_id = gen_random_uuid()
        script = {{insert}}
    """,
    script=f"UPDATE executions_campaign SET status = 'PAUSED' WHERE id = {OLD_CAMPAIGN}; {{insert}}",
)

# --- resubmissions ---

NEW = "'00000000-0000-4000-8000-000000000003'"
OLD = execution("dead")


def key(execution_id: str = OLD) -> str:
    return f"concat('resubmit:', {execution_id}, ':k')"


def submission(text: str = "") -> str:
    """Return the statement that inserts the new execution, which copies the digest of the old one."""
    digest = f"(SELECT input_digest FROM executions_execution WHERE id = {OLD})"
    return SUBMISSION.statement({"id": f"{NEW}::uuid", "execution_key": key(), "input_digest": digest, **change(text)})


def written(*changes: str) -> str:
    """Return scripts that insert the link and then the new execution with one of the changes."""
    return either("{insert}; " + submission(text) for text in changes or ("",))


def item(kind: str = "resubmit", key: str = "dead") -> str:
    """Return the statements that insert a campaign with one item."""
    campaign = NEW_CAMPAIGN.statement(f"kind = '{kind}'")
    return one_line(f"""{campaign}; INSERT INTO executions_campaignitem (campaign_id, execution_id, expected_version)
        VALUES ({CAMPAIGN}, {execution(key)}, {version(key)})""")


SKIP = f"UPDATE executions_campaignitem SET outcome = 'SKIPPED' WHERE campaign_id = {CAMPAIGN}"
BY_CAMPAIGN = f"campaign_id = {CAMPAIGN}::uuid & script = "


def again(old: str) -> str:
    return f"execution_id = {execution(old)} & execution_version = {version(old)}"


RESUBMISSION = NewRow(
    "executions_resubmission",
    f"""
        new_execution_id = {NEW}::uuid & execution_id = {OLD} & execution_version = {version("dead")}
        operation_key = 'k' & campaign_id = NULL::uuid & checkpoint_step = NULL::int
    """,
    f"""
        resubmission_of_finished: execution_id = gen_random_uuid()
        execution_version = {version("dead")} - 1 | {version("dead")} + 1
        {again("queued")}
        {again("asking")}
        resubmission_of_item: campaign_id = gen_random_uuid()
        {BY_CAMPAIGN} {item("redrive")}; {written()} | {item(key="failed")}; {written()} | {item()}; {SKIP}; {written()}
        resubmission_creates_execution: operation_key = 'other'
        edited = true
        new_execution_id = gen_random_uuid() | {execution("queued")} | {OLD}
        script = {{insert}} | {written("execution_key = 'new'", f"execution_key = {key(execution('failed'))}")}
        script = {written(IN_OTHER_PIPELINE, OF_RIVAL, "input_digest = 'other'")}
        execution_pin_exists: script = {submission(REPLACED)}; {{insert}}
        script = {written(f"release_id = {release('0.1')} & release_version = '0.1'")}
        script = {written(f"{REPLACED} & contract_version = 'x'", f"{REPLACED} & release_version = 'x'")}
        script = {written(REPLACED)}
        execution_not_refused: setup = {paused("release", release("1.0"))} | {paused("pipeline", pipeline())}
    """,
    f"""
        script = {written(REPLACED)} & setup = {was_active(minutes=1)}
        setup = {paused("release", release("0.5"))} | {paused("pipeline", pipeline(), refuses=False)}
        edited = true & script = {written("input_digest = 'other'")}
        {BY_CAMPAIGN} {item()}; {written()}
        {again("failed")} & script = {written(f"execution_key = {key(execution('failed'))}")}
    """,
    script=written(),
)
CHECKPOINT = "current_step_index = 1 & progress = '[2]' & progress_shape = 'UNI'"
CONTINUED = NewRow(
    "executions_resubmission",
    f"{RESUBMISSION.chosen}\n checkpoint_step = 1",
    f"""
        execution_starts_at_checkpoint: checkpoint_step = NULL::int | 0 | 2
        script = {submission(CHECKPOINT)}; {{insert}}
        script = {written(f"{CHECKPOINT} & input_digest = 'other'")}
        script = {written(f"{CHECKPOINT} & {IN_OTHER_PIPELINE}", f"{CHECKPOINT} & {OF_RIVAL}")}
        script = {written(f"{CHECKPOINT} & current_step_index = 2", f"{CHECKPOINT} & progress = '[3]'")}
        script = {written(f"{CHECKPOINT} & progress = NULL::jsonb & progress_shape = NULL::text")}
        script = {written(f"{CHECKPOINT} & progress_shape = 'MULTI'")}
        resubmission_continues: script = {written()}
    """,
    f"script = {written(f'{CHECKPOINT} & {REPLACED}')} & setup = {was_active(minutes=1)}",
    script=written(CHECKPOINT),
    setup=f"""UPDATE executions_execution SET current_step_index = 1, progress = '[2]', progress_shape = 'UNI'
        WHERE id = {OLD}""",
)

# --- holds and claims ---

QUEUED = execution("queued")
OF_EXECUTION = f"release_id = NULL & execution_id = {QUEUED}"
HELD = f"UPDATE executions_execution SET held = true WHERE id = {QUEUED}"
HOLD = NewRow(
    "executions_hold",
    f"release_id = {release('0.5')} & reason = 'x' & refuses_submissions = true",
    f"""
        hold_starts_open: tenant_id = {tenant("rival")} | {tenant("other")} | 0
        release_id = {release("1.0", "rival")} | NULL | 0
        release_id = NULL & pipeline_id = {pipeline("rival")}
        {OF_EXECUTION} & tenant_id = {tenant("rival")} & refuses_submissions = false
        hold_holds_execution: {OF_EXECUTION} & refuses_submissions = false
    """,
    f"""
        refuses_submissions = false
        release_id = NULL & pipeline_id = {pipeline()}
        {OF_EXECUTION} & refuses_submissions = false & setup = {HELD}
    """,
)
CLAIM = "claimed_by = 'user:x' & claimed_until = now() + interval '10 minutes' & delegate = NULL::text"


def question(key: str) -> str:
    return f"(SELECT id FROM executions_interaction WHERE execution_id = {execution(key)})"


def changed(claim: str = CLAIM, key: str = "asking", counts: int = 1) -> str:
    """Return the statement that changes the claim of the question and inserts the event."""
    sets = ", ".join(f"{name} = {value}" for name, value in change(claim).items() if name != "kind")
    update = f"UPDATE executions_interaction SET {sets}, claim_changes = claim_changes + {counts}"
    return f"WITH changed AS ({update} WHERE id = {question(key)} RETURNING 1) {{insert}}"


def both(text: str) -> str:
    """Return a change of the event and of the question."""
    return f"{text} & script = {changed(f'{CLAIM} & {text}')}"


RELEASED = "kind = 'RELEASED' & claimed_by = NULL::text & claimed_until = NULL::timestamptz"
RECIPIENTS = f"{RELEASED.partition(' & ')[2]} & delegate = NULL::text & assignee = 'eva' & \"group\" = 'finance'"
REASSIGNED = f"kind = 'REASSIGNED' & note = 'away' & {RECIPIENTS}".replace('"', "")
CLAIM_EVENT = NewRow(
    "executions_interactionevent",
    f"""
        execution_id = {execution("asking")} & interaction_id = {question("asking")} & sequence = 1 & kind = 'CLAIMED'
        actor = 'user:x' & note = NULL::text & {CLAIM} & assignee = NULL::text & group = NULL::text
    """,
    f"""
        interaction_claim_has_event: sequence = 0 | 2
        claimed_until = now() + interval '11 minutes'
        {RELEASED}
        delegate = 'user:y'
        script = {changed(counts=0)} | {changed(counts=2)}
        {REASSIGNED} & assignee = 'bob' & script = {changed(RECIPIENTS)}
        script = {changed(f"{CLAIM} & {RECIPIENTS}")}
        interaction_event_kind: {both("assignee = 'eva'")}
        {REASSIGNED} & note = NULL::text & script = {changed(RECIPIENTS)}
        interaction_event_of_claim: tenant_id = {tenant("rival")} | {tenant("other")}
        execution_id = {executions("queued", "cancelled")}
        {both("claimed_until = now() + interval '31 minutes'")}
        {both("claimed_until = now() - interval '1 second'")}
        script = {{insert}} & source = FROM (SELECT 1) changed
        interaction_over_is_over: interaction_id = {question("cancelled")} & execution_id = {execution("cancelled")}
            & script = {changed(key="cancelled")}
    """,
    source="FROM changed",
    script=changed(),
)

# --- workers and processes ---

HEALTHY = "(SELECT id FROM executions_worker WHERE noted_state = 'HEALTHY')"
FIRST_CHANGE = "setup = UPDATE executions_workerkeychange SET newest = 3, oldest = 3"
OF_OTHER = f"tenant_id = {tenant('other')}"
COUNTED = "(SELECT {} FROM executions_finishedcount)"
WORKER = NewRow(
    "executions_worker",
    "pipeline_id = 'org.example.orders' & worker_id = 'new' & protocol = 'celery' & capacity = 1 & taking = true",
)
# --- schedules ---

NIGHTLY = f"(SELECT id FROM executions_schedule WHERE name = 'nightly' AND tenant_id = {tenant('owner')})"
SCHEDULE = NewRow(
    "executions_schedule",
    f"name = 'new' & pipeline_id = {pipeline()} & cron = '0 2 * * *' & input = '[1]' & overlap = 'skip'"
    " & exceptions = '[]' & catch_up_minutes = 60",
    f"""
        schedule_starts: created_at = {OTHER_TIMES}
        removed_at = now() & next_at = NULL::timestamptz
        version = 1
        schedule_own_pipeline: pipeline_id = {pipeline("rival")} | 0
        tenant_id = {tenant("rival")}
        schedule_has_input: input = '[]' | '[1, 2]' | '{{}}' | 'null'
        schedule_exceptions: exceptions = '{{}}' | '1'
        schedule_stopped_has_no_next: paused_at = now() & next_at = now()
        schedule_catch_up: catch_up_minutes = 0 | 10081
        schedule_overlap_known: overlap = 'x'
    """,
)
SCHEDULE_FIRE = NewRow(
    "executions_schedulefire",
    f"schedule_id = {NIGHTLY} & scheduled_at = now() & state = 'DUE' & next_attempt_at = now()"
    " & decided_at = NULL::timestamptz",
    """
        schedule_fire_decided: next_attempt_at = NULL::timestamptz
        state = 'MISSED' | 'x'
        schedule_fire_has_execution: state = 'SUBMITTED' & decided_at = now() & next_attempt_at = NULL::timestamptz
    """,
)

OPERATIONS = [
    SCHEDULE,
    SCHEDULE_FIRE,
    NEW_CAMPAIGN,
    CAMPAIGN_ITEM,
    CAMPAIGN_BATCH,
    CAMPAIGN_EVENT,
    RESUBMISSION,
    CONTINUED,
    HOLD,
    CLAIM_EVENT,
    WORKER,
    NewRow(
        "executions_workerevent",
        f"worker_id = {HEALTHY} & state = 'HEALTHY'",
        f"""
            worker_event_starts: at = {OTHER_TIMES}
            worker_event_of_state: state = 'STALE' | 'DRAINING' | 'UNAVAILABLE' | ''
            worker_id = (SELECT id FROM executions_worker WHERE tenant_id = {tenant("rival")}) | 0
        """,
    ),
    NewRow(
        "executions_workerkeychange",
        "number = 2 & newest = 2 & oldest = 2",
        f"""
            worker_key_change_follows: number = 0 | 1 | 3 | -1
            newest = 1 & oldest = 1
            {FIRST_CHANGE}
            {FIRST_CHANGE} & newest = 2 & oldest = 3
            {OF_OTHER} & number = 1 & newest = 0 | 1 & oldest = 0
        """,
    ),
    NewRow(
        "executions_finishedcount",
        f"""
            release_id = {COUNTED.format("release_id")}
            minute = {COUNTED.format("minute")} + interval '1 minute'
        """,
        f"""
            finished_count_of_a_minute: minute = {COUNTED.format("minute")} + interval '1 second'
            minute = {COUNTED.format("minute")} + interval '1 microsecond'
        """,
    ),
]
