"""The SQL statements of the use cases: what each does, and what it means if it affects or returns no row."""

# Returns whether executions have expired before their start, whether some of low priority wait until they are due, and
# whether some have a concurrency key. Then whether relatives must be notified of an end, and whether a call of a child
# is due that is not paused. Each part has an index that contains only such rows.
FIND_STARTS = """
SELECT EXISTS (SELECT FROM executions_execution e
        WHERE e.expires_at IS NOT NULL AND e.status = 'QUEUED' AND e.version = 0 AND e.expires_at <= now()),
    EXISTS (SELECT FROM executions_execution e
        WHERE e.priority < 0 AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held),
    EXISTS (SELECT FROM executions_execution e WHERE e.concurrency_key IS NOT NULL AND e.finished_at IS NULL),
    EXISTS (SELECT FROM executions_execution e WHERE e.family_due_at <= now()),
    EXISTS (SELECT FROM executions_interaction i JOIN executions_execution e ON e.id = i.execution_id
        WHERE i.transport = 'pipeline' AND i.status IN ('WAITING', 'DISPATCHING') AND i.next_dispatch_at <= now()
            AND i.deadline > now() AND NOT e.held
            AND e.release_id NOT IN (SELECT release_id FROM executions_heldrelease))
"""

# Locks executions that have expired before their start, and skips locked ones. Returns them with the time in RFC 3339,
# and their releases. No row: none has expired, or other processes end them.
LOCK_UNSTARTED = """
SELECT e.id, to_char(e.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), t.slug, e.pipeline_id,
    e.release_version
FROM executions_execution e JOIN tenancy_tenant t ON t.id = e.tenant_id
WHERE e.expires_at IS NOT NULL AND e.status = 'QUEUED' AND e.version = 0 AND e.expires_at <= now()
ORDER BY e.expires_at LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED
"""

# Makes queued executions of low priority due, the ones that would be due first. Each release gets as many as its
# workers do in `seconds`, at least one for each thread and at most `most`, less what is due already. Releases are found
# one after the other in the index. No row: no release with such executions has room.
PROMOTE = """
WITH RECURSIVE next AS (
    (SELECT e.release_id FROM executions_execution e
        WHERE e.priority < 0 AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held ORDER BY e.release_id LIMIT 1)
    UNION ALL
    SELECT (SELECT e.release_id FROM executions_execution e
        WHERE e.priority < 0 AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held AND e.release_id > next.release_id
        ORDER BY e.release_id LIMIT 1)
    FROM next WHERE next.release_id IS NOT NULL
), host AS MATERIALIZED (
    SELECT next.release_id, (SELECT sum(v.capacity * CASE WHEN v.transition_seconds IS NULL THEN 1
            ELSE least(%(most)s, greatest(%(seconds)s / greatest(v.transition_seconds, 0.001), 1)) END)
        FROM executions_workereligibility v
        WHERE v.release_id = next.release_id AND v.present AND v.reason IS NULL)::bigint AS room
    FROM next WHERE next.release_id IS NOT NULL
), free AS MATERIALIZED (
    SELECT release_id, least(room, %(most)s) - (SELECT count(*) FROM (
        SELECT FROM executions_execution e
        WHERE e.release_id = host.release_id AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held
            AND e.next_due_at <= now() ORDER BY e.next_due_at LIMIT %(most)s) due) AS places
    FROM host WHERE room > 0
), chosen AS (
    SELECT c.id FROM free CROSS JOIN LATERAL (
        SELECT e.id FROM executions_execution e
        WHERE e.release_id = free.release_id AND e.priority < 0 AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held
            AND e.status = 'QUEUED' AND e.next_due_at > now() AND e.next_due_at < '9000-01-01'
            AND (e.version > 0 OR e.not_before IS NULL OR e.not_before <= now())
        ORDER BY e.next_due_at LIMIT greatest(free.places, 0) FOR UPDATE SKIP LOCKED) c
)
UPDATE executions_execution e SET next_due_at = now() FROM chosen WHERE e.id = chosen.id
"""

# Locks executions in the order of their ids, before any is changed. They are found by their ids alone: see
# `executions.state_machine.statements`. The last columns say whether the execution is pinned to this release, and
# whether it changed in a transaction that began after this one, so that what this one writes would seem to be older.
# The lock is as strong as that of a move, which then writes no second one. No row: the executions were removed.
LOCK = """
SELECT e.id, e.attempt, e.budget_start, e.result_shape, e.version, e.current_step_index, e.lost_lease, e.release_id,
    e.release_version = %(release)s AND e.contract_version = %(contract)s AND e.pipeline_id = %(pipeline)s
        AND e.tenant_id = (SELECT t.id FROM tenancy_tenant t WHERE t.slug = %(tenant)s), e.updated_at > now()
FROM executions_execution e WHERE e.id = ANY(%(ids)s) ORDER BY e.id FOR UPDATE OF e
"""

# Returns what decides about the retries of a release. Always one row: releases and pipelines are never removed.
RETRIES = """
SELECT r.contract_version, r.declarations -> 'steps', nullif(p.step_policies, '{}'), p.retry_limit,
    p.retry_delay_seconds, p.retry_multiplier, p.repeat_unknown_outcomes
FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id WHERE r.id = %(release)s
"""

# Locks releases until the transaction ends, so that none of them is retired meanwhile, and returns their statuses.
# Submissions hold the same lock. No row: there is no such release.
LOCK_RELEASES = """
SELECT r.id, r.status FROM releases_release r WHERE r.id = ANY(%(ids)s) ORDER BY r.id FOR KEY SHARE
"""

# Locks executions and those from which they were resubmitted, in the order of their ids. Everything that runs the same
# work again locks the first one of these. Returns each execution with each of those. No row: they were removed.
LOCK_WORK = """
WITH RECURSIVE origins AS (
    SELECT e AS execution, e AS id FROM unnest(%(ids)s::uuid[]) AS e
    UNION ALL
    SELECT o.execution, s.execution_id FROM origins o, LATERAL (
        SELECT r.execution_id FROM executions_resubmission r WHERE r.new_execution_id = o.id OFFSET 0) s
), locked AS (
    SELECT e.id FROM executions_execution e WHERE e.id = ANY(ARRAY(SELECT id FROM origins))
    ORDER BY e.id FOR NO KEY UPDATE OF e
)
SELECT o.execution, o.id FROM origins o JOIN locked l ON l.id = o.id
"""

# Returns the execution that carries on the work of another one, with its status and release; they are null if it was
# removed. No row: none does.
REPLACEMENT = """
SELECT r.id, e.status, e.release_version FROM replacement_of(%(id)s, %(items)s) AS r(id)
LEFT JOIN executions_execution e ON e.id = r.id WHERE r.id IS NOT NULL
"""

# Locks a revocation whose order is to fail the open executions of its release, and returns the release and the reason.
# No row: the order is complete, or another process is carrying it out.
LOCK_ORDER = """
SELECT v.release_id, v.reason FROM releases_revocation v
WHERE v.id = %(id)s AND v.open_executions = 'fail' AND v.completed_at IS NULL FOR UPDATE SKIP LOCKED
"""

# Waits for the transactions that are submitting or re-driving an execution of a revoked release. Later ones find it
# revoked, even if they read it before: FOR KEY SHARE locks a row as it was read, unless its key was updated since. An
# update under the lock FOR UPDATE counts as one of the key. This is a separate transaction: an outcome with a new
# failure group locks the release after its execution, so the order must not hold the release while it waits for
# executions. No row is impossible.
WAIT_FOR_SUBMISSIONS = """
WITH locked AS MATERIALIZED (
    SELECT r.id FROM releases_release r
    WHERE r.id = (SELECT v.release_id FROM releases_revocation v WHERE v.id = %(id)s) FOR UPDATE
)
UPDATE releases_release r SET status_changed_at = r.status_changed_at FROM locked WHERE r.id = locked.id
"""

# Locks a batch of open executions of a release in the order of their ids. No row: none is open.
LOCK_OPEN = """
SELECT e.id FROM executions_execution e
WHERE e.release_id = %(release)s AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED')
ORDER BY e.id LIMIT %(limit)s FOR NO KEY UPDATE OF e
"""

# Records the progress of an order.
NOTE_PROGRESS = """
UPDATE releases_revocation SET failed_executions = failed_executions + %(failed)s,
    completed_at = CASE WHEN %(complete)s THEN now() END
WHERE id = %(id)s
"""

# Stores checkpoints under the lease that they were reported with, each with its event. Returns the executions, and the
# step at which each resumes. No row: the leases are lost, or later checkpoints are stored already.
STORE_CHECKPOINTS = """
WITH requested AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(versions)s::bigint[], %(tokens)s::uuid[], %(steps)s::int[],
        %(progress)s::jsonb[], %(shapes)s::text[], %(keys)s::text[], %(spans)s::jsonb[])
        AS a(id, version, token, step, progress, shape, key, spans)
), locked AS (
    SELECT e.id, a.version, a.token FROM executions_execution e JOIN requested a ON a.id = e.id
    WHERE e.checkpoints AND e.version = a.version AND e.lease_token = a.token AND e.current_step_index < a.step
    ORDER BY e.id FOR UPDATE OF e
), kept AS (
    UPDATE executions_execution e SET
        current_step_index = a.step, progress = a.progress, progress_shape = a.shape, takeovers = 0,
        budget_start = e.attempt,
        event_count = e.event_count + 1, updated_at = now()
    FROM locked l JOIN requested a USING (id, version, token) WHERE e.id = l.id
    RETURNING e.id, e.event_count, e.status, e.attempt, a.step, a.key, a.spans
)
INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
SELECT id, event_count, 'CHECKPOINT', status, %(actor)s,
    jsonb_build_object('nextStepIndex', step, 'transitionKey', key, 'attempt', attempt, 'steps', spans)
        || %(reporter)s::jsonb
FROM kept
RETURNING execution_id, (data ->> 'nextStepIndex')::int
"""

# Makes campaigns of the tenant wait with their selection until the transaction ends. False: one is selecting now.
LOCK_REMOVALS = "SELECT pg_try_advisory_xact_lock_shared(7310, hashint8(%(tenant)s))"

# Locks one batch of executions that are older than their tenant's term, earliest finish first, and skips locked ones.
# No row: nothing is left to remove, other processes remove it, or a campaign of the tenant is DRAFTING.
#
# Executions that a campaign has yet to re-drive are kept at any age. So are children whose parent may ask for them
# again: without them, a re-drive of the parent would run them a second time. Parents are looked up one by one, because
# PostgreSQL may read all open executions for a NOT EXISTS. The batch ends with the execution that brings its
# questions to `most`, so that a batch with many large awaits takes no longer than another.
CHOOSE_OLD = """
WITH old AS (
    SELECT e.id, e.finished_at FROM executions_execution e
    WHERE e.tenant_id = %(tenant)s AND e.status IN ({states}) AND e.finished_at >= %(since)s
        AND e.finished_at <= now() - make_interval(days => %(days)s)
        AND NOT EXISTS (SELECT FROM executions_campaignitem i WHERE i.execution_id = e.id AND i.outcome = 'PENDING')
        AND NOT EXISTS (SELECT FROM executions_campaignbatch b JOIN executions_campaign c ON c.id = b.campaign_id
            WHERE c.tenant_id = %(tenant)s AND c.status = 'DRAFTING')
        AND (e.parent_id IS NULL OR (SELECT p.status NOT IN ('SUCCEEDED', 'CANCELLED') FROM executions_execution p
            WHERE p.id = e.parent_id) IS NOT TRUE)
    ORDER BY e.finished_at LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED
), sized AS (
    SELECT id, finished_at, coalesce((
        SELECT sum(u.expected_items) FROM executions_awaitunit u WHERE u.execution_id = old.id), 0) AS items
    FROM old
), counted AS (
    SELECT id, finished_at, sum(items) OVER (ORDER BY finished_at, id) - items AS before FROM sized
)
SELECT id, finished_at FROM counted WHERE before < %(most)s ORDER BY finished_at
"""

# Removes executions. The foreign keys of their histories remove these. No row: campaigns selected all of them
# after they were chosen.
REMOVE = """
DELETE FROM executions_execution e WHERE id = ANY(%s)
    AND NOT EXISTS (SELECT FROM executions_campaignitem i WHERE i.execution_id = e.id AND i.outcome = 'PENDING')
"""

# Starts a call: changes the fencing token, so that a message that is delivered twice, or is forged, has no effect, and
# leases the execution for the whole call. Returns the new token. No row: the lease was lost before the call.
START_CALL = """
UPDATE executions_execution SET lease_token = gen_random_uuid(),
    lease_expires_at = now() + make_interval(secs => %(lease)s), running_since = now()
WHERE id = %(id)s AND lease_token = %(token)s AND status = 'RUNNING' AND lease_protocol = 'rest'
RETURNING lease_token
"""

# Extends the lease of a claim that waits for a place. It keeps its token. No row: the lease was
# lost, and with it the claim.
EXTEND_CALL = """
UPDATE executions_execution SET lease_expires_at = now() + make_interval(secs => %(lease)s)
WHERE id = %(id)s AND lease_token = %(token)s AND status = 'RUNNING' AND lease_protocol = 'rest'
"""

# Finds calls whose lease has expired, and returns their leases. No row: no process that made a call was lost.
LOST_CALLS = """
SELECT id, lease_token FROM executions_execution
WHERE status = 'RUNNING' AND lease_expires_at <= now() AND lease_protocol = 'rest' AND running_since IS NOT NULL
ORDER BY lease_expires_at LIMIT %(limit)s
"""

# Counts what needs a release: its executions and its undecided requests by status, and the unfinished campaigns that
# have yet to re-drive one of its executions. A failed smoke test does not. One statement reads everything from one
# snapshot. A kind without rows is missing.
COUNT_BLOCKERS = """
SELECT s.status, n.count
FROM unnest(ARRAY['QUEUED', 'RUNNING', 'WAIT_RETRY', 'WAITING_EXTERNAL']) AS s (status) CROSS JOIN LATERAL (
    SELECT count(*) FROM (
        SELECT FROM executions_execution e WHERE e.release_id = %(release)s AND e.status = s.status
            AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED') LIMIT %(most)s
    ) AS open
) AS n WHERE n.count > 0
UNION ALL
SELECT s.status, n.count FROM unnest(ARRAY['FAILED', 'DLQ']) AS s (status) CROSS JOIN LATERAL (
    SELECT count(*) FROM (
        SELECT FROM executions_execution e WHERE e.tenant_id = %(tenant)s AND e.release_id = %(release)s
            AND e.status = s.status AND e.status IN ('FAILED', 'DLQ') AND NOT e.smoke LIMIT %(most)s
    ) AS failed
) AS n WHERE n.count > 0
UNION ALL
SELECT 'CAMPAIGN', count(DISTINCT i.campaign_id) FROM executions_campaignitem i
JOIN executions_campaign c ON c.id = i.campaign_id AND c.tenant_id = %(tenant)s
    AND c.status NOT IN ('DRAFTING', 'DRAFT')
JOIN executions_execution e ON e.id = i.execution_id AND e.release_id = %(release)s
WHERE i.outcome = 'PENDING' HAVING count(*) > 0
UNION ALL
SELECT a.status, count(*) FROM releases_activationrequest a
WHERE a.release_id = %(release)s AND a.status IN ('OPEN', 'APPROVED') GROUP BY 1
"""
