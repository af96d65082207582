"""The SQL statements of awaits: what each does, and what it means if it affects or returns no row."""

# --- opening ---

# Writes units, each with its questions. The requests of a unit are already the progress of its execution, so the
# database copies them from there: a unit of 100,000 items is opened without sending its requests again. What a unit's
# questions have in common comes once, with the unit. No rows: no parkings were passed.
OPEN = """
WITH parked AS (
    SELECT * FROM json_to_recordset(%(parkings)s::json) AS p(
        unit uuid, execution uuid, step text, index int, itemized bool, many bool, items int, name text,
        questions json, transport text, metadata jsonb, type text, assignee text, "group" text, status text,
        seconds float, traceparent text)
), opened AS (
    INSERT INTO executions_awaitunit (id, tenant_id, execution_id, step_id, step_index, itemized, gives_many,
        expected_items, worker_name, traceparent)
    SELECT unit, %(tenant)s, execution, step, index, itemized, many, items, name, traceparent
    FROM parked
)
INSERT INTO executions_interaction (id, tenant_id, unit_id, execution_id, step_id, step_index, item_index, worker_name,
    correlation_id, transport, transport_metadata, request, output_type, assignee, "group", status, version, deadline,
    dispatch_attempts, next_dispatch_at, last_dispatch_error)
SELECT coalesce(i.id, gen_random_uuid()), %(tenant)s, p.unit, p.execution, p.step, p.index,
    CASE WHEN p.itemized THEN i.place - 1 END, i.name, i.correlation, p.transport, coalesce(i.metadata, p.metadata),
    i.request, p.type, coalesce(i.assignee, p.assignee), coalesce(i."group", p."group"), coalesce(i.status, p.status),
    0, coalesce(i.deadline, now() + make_interval(secs => p.seconds)), 0,
    CASE WHEN p.transport IN ('webhook', 'pipeline') AND coalesce(i.status, p.status) = 'WAITING' THEN now() END, ''
FROM parked p JOIN executions_execution e ON e.id = p.execution
CROSS JOIN LATERAL ROWS FROM (
    json_to_recordset(p.questions) AS (id uuid, name text, correlation text, metadata jsonb, assignee text,
        "group" text, status text, deadline timestamptz),
    jsonb_array_elements(CASE WHEN p.itemized THEN e.progress ELSE jsonb_build_array(e.progress) END)
) WITH ORDINALITY AS i(id, name, correlation, metadata, assignee, "group", status, deadline, request, place)
"""

# Answers questions that were just opened, with the answers that their worker reported. No row is impossible.
ANSWER_OPENED = """
UPDATE executions_interaction i SET status = 'COMPLETED', response = a.response -> 0, actor = a.actor,
    completed_at = now(), version = version + 1
FROM json_to_recordset(%(answers)s::json) AS a(id uuid, response jsonb, actor text) WHERE i.id = a.id
"""

# --- closing ---

# Locks an execution. No row: the execution was removed.
LOCK_EXECUTION = """
SELECT FROM executions_execution WHERE id = %s FOR UPDATE
"""

# Locks a unit, after its execution. No row: the unit was removed with its execution.
LOCK_UNIT = """
SELECT FROM executions_awaitunit WHERE id = %s FOR UPDATE
"""

# Adds new answers to open units, and completes the units that now have all answers. No row: the units are closed.
COUNT_ANSWERS = """
UPDATE executions_awaitunit u SET answered_items = u.answered_items + a.answers, updated_at = now(),
    status = CASE WHEN u.answered_items + a.answers = u.expected_items THEN 'COMPLETED' ELSE u.status END
FROM unnest(%(units)s::uuid[], %(answers)s::int[]) AS a(id, answers)
WHERE u.id = a.id AND u.status = 'WAITING_EXTERNAL'
RETURNING u.status = 'COMPLETED', u.id, u.execution_id, u.step_index, u.itemized, u.gives_many,
    u.traceparent, u.created_at
"""

# Reads the answers of completed units, in the order of their items. No row is impossible.
RESPONSES = """
SELECT unit_id, jsonb_agg(response ORDER BY item_index)::text FROM executions_interaction
WHERE unit_id = ANY(%(units)s) AND status = 'COMPLETED' GROUP BY unit_id
"""

# Reads the answers of completed units as RESPONSES does, each with the request that it answers. No row is impossible.
REQUESTS_AND_RESPONSES = """
SELECT unit_id, jsonb_agg(jsonb_build_object('request', request, 'answer', response) ORDER BY item_index)::text
FROM executions_interaction WHERE unit_id = ANY(%(units)s) AND status = 'COMPLETED' GROUP BY unit_id
"""

# Locks the open units of executions. No row: these executions wait for nothing.
LOCK_OPEN_UNITS = """
SELECT id FROM executions_awaitunit WHERE execution_id = ANY(%s) AND status = 'WAITING_EXTERNAL' ORDER BY id FOR UPDATE
"""

# Closes open units. No row: another process closed them first.
CLOSE_UNITS = """
UPDATE executions_awaitunit SET status = %(status)s, updated_at = now()
WHERE id = ANY(%(units)s) AND status = 'WAITING_EXTERNAL'
RETURNING id, execution_id, step_index, traceparent, created_at
"""

# Closes the open questions of units. No row: all of them were answered or closed before.
CLOSE_INTERACTIONS = """
UPDATE executions_interaction SET status = %(status)s, version = version + 1, next_dispatch_at = NULL,
    updated_at = now()
WHERE unit_id = ANY(%(units)s) AND status = ANY(%(open)s)
"""

# --- deadlines ---

# Locks the executions of questions that are past their deadline, earliest first, and skips locked and paused
# executions. A pause waits for those that this found (`may_claim`). No row: nothing is late, or other processes expire
# what is.
LOCK_LATE = """
SELECT late.id FROM (
    SELECT e.id, e.release_id FROM executions_interaction i JOIN executions_execution e ON e.id = i.execution_id
    WHERE i.status = ANY(%(open)s) AND i.deadline <= now() AND NOT e.held
        AND e.release_id NOT IN (SELECT release_id FROM executions_heldrelease)
    ORDER BY i.deadline, i.id LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED) late
WHERE may_claim(late.release_id)
"""

# Completes the late timers of locked executions; a timer's answer is its request. No row: none is late.
COMPLETE_TIMERS = """
UPDATE executions_interaction SET status = 'COMPLETED', response = request, actor = %(timer)s, completed_at = now(),
    version = version + 1, updated_at = now()
WHERE execution_id = ANY(%(held)s) AND status = ANY(%(open)s) AND deadline <= now() AND transport = %(timer)s
RETURNING unit_id
"""

# Times out the late questions of locked executions. Returns the earliest of each unit. No row: none is late.
TIME_OUT = """
WITH late AS (
    UPDATE executions_interaction SET status = 'TIMED_OUT', version = version + 1, next_dispatch_at = NULL,
        updated_at = now()
    WHERE execution_id = ANY(%(held)s) AND status = ANY(%(open)s) AND deadline <= clock_timestamp()
        AND deadline <= execution_clock(execution_id) AND transport <> %(timer)s
    RETURNING id, unit_id, deadline
)
SELECT DISTINCT ON (unit_id) unit_id, id FROM late ORDER BY unit_id, deadline, id
"""

# --- answers ---

# Locks a question. Returns its status, and whether its deadline has passed by the clock of its execution, which
# stands still during a pause; timers are never late. Then its claim, and for how long that lasts: null if it is over.
# Then its recipients.
# No row: the question was removed with its execution.
LOCK_INTERACTION = """
SELECT status, deadline <= execution_clock(execution_id) AND transport <> %s, claimed_by, claimed_until,
    CASE WHEN claimed_until > clock_timestamp() THEN claimed_until - clock_timestamp() END,
    assignee, "group"
FROM executions_interaction WHERE id = %s FOR UPDATE
"""

# How long a question can be answered.
TIME_LEFT = "SELECT deadline - execution_clock(execution_id) FROM executions_interaction WHERE id = %s"

# Stores an answer. No row: the question is closed.
ANSWER = """
UPDATE executions_interaction SET status = 'COMPLETED', response = %(response)s, actor = %(actor)s, note = %(note)s,
    channel = %(channel)s, completed_at = clock_timestamp(), version = version + 1, next_dispatch_at = NULL,
    updated_at = now()
WHERE id = %(id)s AND status = ANY(%(open)s)
"""

# --- recipients ---

_PERSON = """
WITH person AS MATERIALIZED (
    SELECT username, email, is_superuser FROM auth_user WHERE id = %(person)s AND is_active {lock}
), held AS MATERIALIZED (
    SELECT role, groups FROM tenancy_membership WHERE user_id = %(person)s AND tenant_id = %(tenant)s {lock}
)
SELECT username, email, is_superuser OR EXISTS (SELECT FROM held WHERE role = ANY(%(roles)s)),
    ARRAY(SELECT DISTINCT unnest(groups) FROM held)
FROM person
"""
# Returns the names of an active user, whether the roles in a tenant include one of some, and the groups in the tenant.
# No row: the user is not active.
PERSON = _PERSON.format(lock="")

# Returns the same. The user and the memberships do not change before the transaction ends.
LOCK_PERSON = _PERSON.format(lock="FOR SHARE")

# Changes the recipients of an open question, and ends its claim and its delegation, with the event. No row is
# impossible: the caller has locked the question.
REASSIGN = """
WITH changed AS (
    UPDATE executions_interaction SET assignee = %(assignee)s, "group" = %(group)s, claimed_by = NULL,
        claimed_until = NULL, delegate = NULL, claim_changes = claim_changes + 1
    WHERE id = %(id)s AND status = ANY(%(open)s)
    RETURNING *
)
INSERT INTO executions_interactionevent (tenant_id, execution_id, interaction_id, sequence, kind, actor, note, assignee,
    "group")
SELECT tenant_id, execution_id, id, claim_changes, 'REASSIGNED', %(actor)s, %(reason)s, assignee, "group" FROM changed
"""

# --- claims ---

# Changes the claim of an open question, or its delegate, with the event. `updated_at` is when the wait began, so it
# stays. No row is impossible: the caller has locked the question.
CHANGE_CLAIM = """
WITH changed AS (
    UPDATE executions_interaction SET claimed_by = %(claimant)s, delegate = coalesce(%(delegate)s, delegate),
        claimed_until = CASE WHEN %(claimant)s::text IS NOT NULL THEN clock_timestamp() + %(time)s END,
        claim_changes = claim_changes + 1
    WHERE id = %(id)s AND status = ANY(%(open)s) AND claimed_by IS NOT DISTINCT FROM %(before)s
    RETURNING *
)
INSERT INTO executions_interactionevent (tenant_id, execution_id, interaction_id, sequence, kind, actor, note,
    claimed_by, claimed_until, delegate)
SELECT tenant_id, execution_id, id, claim_changes, %(kind)s, %(actor)s, %(note)s, claimed_by, claimed_until, delegate
FROM changed
"""

# --- webhooks ---

# Returns whether a webhook is due that is not paused.
ANY_WEBHOOK_DUE = """
SELECT EXISTS (
    SELECT FROM executions_interaction i JOIN executions_execution e ON e.id = i.execution_id
    WHERE i.transport = %(webhook)s AND i.status IN ('WAITING', 'DISPATCHING') AND i.next_dispatch_at <= now()
        AND i.deadline > now() AND NOT e.held AND e.release_id NOT IN (SELECT release_id FROM executions_heldrelease))
"""

# Claims the webhook that has been due for longest, for the time that one attempt may take, and skips locked and paused
# ones and full tenants. The row of the execution is locked first, so that a pause of it waits. Other pauses wait for
# `may_claim`. If the process of an attempt dies, the webhook is due again. No row: no webhook is due.
CLAIM_WEBHOOK = """
UPDATE executions_interaction SET status = 'DISPATCHING', dispatch_attempts = dispatch_attempts + 1,
    version = version + 1, next_dispatch_at = now() + make_interval(secs => %(lease)s), updated_at = now()
WHERE id = (SELECT due.id FROM (
    SELECT i.id, e.release_id FROM executions_interaction i JOIN executions_execution e ON e.id = i.execution_id
    WHERE i.transport = %(webhook)s AND i.status IN ('WAITING', 'DISPATCHING') AND i.next_dispatch_at <= now()
        AND i.deadline > now() AND i.tenant_id <> ALL(%(full)s)
        AND NOT e.held AND e.release_id NOT IN (SELECT release_id FROM executions_heldrelease)
    ORDER BY i.next_dispatch_at LIMIT 1 FOR KEY SHARE OF e FOR UPDATE OF i SKIP LOCKED) due
    WHERE may_claim(due.release_id))
RETURNING id, tenant_id
"""

# Records the result of an attempt. Without a wait there is no further one. No row: the question was closed, or a
# newer attempt has started.
RECORD_ATTEMPT = """
UPDATE executions_interaction SET status = %(status)s, version = version + 1, last_dispatch_error = %(error)s,
    next_dispatch_at = now() + %(wait)s::interval, updated_at = now()
WHERE id = %(id)s AND status = 'DISPATCHING' AND dispatch_attempts = %(attempt)s
"""
