"""The SQL statements of holds: what each does, and what it means if it affects or returns no row."""

# Locks pipelines in the order of their keys, which serialises all pauses and resumes of the pipelines, their releases
# and their executions. No row is impossible.
LOCK_PIPELINES = """
SELECT p.id FROM releases_pipeline p WHERE p.id = ANY(%s) ORDER BY p.id FOR UPDATE
"""

# Pauses executions that have these versions, or any version for null, each with its event. No row: each is paused or
# terminal, has changed, or was removed.
PAUSE_EXECUTIONS = """
WITH locked AS (
    SELECT e.id, e.tenant_id FROM executions_execution e
    JOIN unnest(%(ids)s::uuid[], %(versions)s::bigint[]) AS r(id, version)
        ON r.id = e.id AND coalesce(r.version, e.version) = e.version
    WHERE NOT e.held AND e.status <> ALL (%(terminal)s) ORDER BY e.id FOR UPDATE OF e
), hold AS (
    INSERT INTO executions_hold (tenant_id, execution_id, reason, refuses_submissions, started_by)
    SELECT tenant_id, id, %(reason)s, false, %(actor)s FROM locked RETURNING id, execution_id
), held AS (
    UPDATE executions_execution e SET held = true, event_count = e.event_count + 1
    FROM locked WHERE e.id = locked.id RETURNING e.id, e.event_count, e.status
), events AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
    SELECT id, event_count, 'PAUSED', status, %(actor)s, jsonb_build_object('reason', %(reason)s::text) FROM held
)
SELECT execution_id, id FROM hold
"""

# Pauses a release or a pipeline. No row is impossible: the caller has the lock and found no open hold.
PAUSE_RELEASES = """
INSERT INTO executions_hold (tenant_id, release_id, pipeline_id, reason, refuses_submissions, started_by)
VALUES (%(tenant)s, %(release)s, %(pipeline)s, %(reason)s, %(refuses)s, %(actor)s) RETURNING id
"""

# Waits for the claims of the pipeline that began before the hold. Later claims see the hold (`may_claim`).
WAIT_FOR_CLAIMS = "SELECT pg_advisory_xact_lock(7307, hashint8(%(pipeline)s))"

# Ends a hold, with the event of its execution if it holds one. No row: the hold has ended, or is of a release.
RESUME = """
WITH ended AS (
    UPDATE executions_hold SET ended_at = now(), ended_by = %(actor)s, end_reason = %(reason)s
    WHERE id = %(hold)s AND ended_at IS NULL RETURNING execution_id
), free AS (
    UPDATE executions_execution e SET held = false, event_count = e.event_count + 1
    FROM ended WHERE e.id = ended.execution_id RETURNING e.id, e.event_count, e.status
)
INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
SELECT id, event_count, 'RESUMED', status, %(actor)s, jsonb_build_object('reason', %(reason)s::text) FROM free
"""

# Locks the executions of releases that wait for a time which had not passed when the hold began. No row: none waits.
LOCK_WAITING = """
SELECT e.id FROM executions_execution e JOIN executions_hold h ON h.id = %(hold)s
WHERE e.release_id = ANY(%(releases)s) AND NOT (e.status IN ('CANCELLED', 'DLQ', 'FAILED', 'SUCCEEDED'))
    AND (e.status = 'WAITING_EXTERNAL'
        OR e.status IN ('QUEUED', 'WAIT_RETRY') AND e.next_due_at > greatest(h.started_at, e.updated_at))
ORDER BY e.id FOR UPDATE OF e
"""

# The following two move what waits for a time by the time for which a hold stopped it: from the start of the hold, or
# of the wait if that is later, to the end of the hold, or to the start of the earliest other open hold of the
# execution, which counts the rest itself. So time is counted once, even if holds overlap. `updated_at` is the start of
# a wait, so these statements keep it. A time that had passed when the hold stopped it stays. No row: nothing waits.
MOVE_DUE = """
UPDATE executions_execution e SET next_due_at = e.next_due_at + (s.until - s.since)
FROM (
    SELECT x.id, greatest(h.started_at, x.updated_at) AS since, least(h.ended_at, (
        SELECT min(o.started_at) FROM executions_hold o WHERE o.ended_at IS NULL
            AND (o.execution_id = x.id OR o.release_id = x.release_id OR o.pipeline_id = (
                SELECT r.pipeline_id FROM releases_release r WHERE r.id = x.release_id)))) AS until
    FROM executions_execution x JOIN executions_hold h ON h.id = %(hold)s
    WHERE x.id = ANY(%(ids)s) AND x.status IN ('QUEUED', 'WAIT_RETRY')
) s
WHERE e.id = s.id AND s.until > s.since AND e.next_due_at > s.since
"""
MOVE_DEADLINES = """
WITH hold AS MATERIALIZED (
    SELECT x.id AS execution_id, h.started_at, least(h.ended_at, (
        SELECT min(o.started_at) FROM executions_hold o WHERE o.ended_at IS NULL
            AND (o.execution_id = x.id OR o.release_id = x.release_id OR o.pipeline_id = (
                SELECT r.pipeline_id FROM releases_release r WHERE r.id = x.release_id)))) AS until
    FROM executions_execution x JOIN executions_hold h ON h.id = %(hold)s
    WHERE x.id = ANY(%(ids)s) AND x.status = 'WAITING_EXTERNAL'
), moved AS (
    SELECT i.id, CASE WHEN i.deadline > greatest(h.started_at, i.created_at)
            THEN greatest(h.until - greatest(h.started_at, i.created_at), '0') ELSE '0' END AS deadline,
        CASE WHEN i.next_dispatch_at > greatest(h.started_at, i.updated_at)
            THEN greatest(h.until - greatest(h.started_at, i.updated_at), '0') ELSE '0' END AS dispatch
    FROM executions_interaction i JOIN hold h ON h.execution_id = i.execution_id
    WHERE i.status = ANY(%(open)s)
)
UPDATE executions_interaction i SET deadline = i.deadline + m.deadline,
    first_deadline = CASE WHEN m.deadline > '0' THEN coalesce(i.first_deadline, i.deadline) ELSE i.first_deadline END,
    next_dispatch_at = i.next_dispatch_at + m.dispatch
FROM moved m WHERE i.id = m.id AND (m.deadline > '0' OR m.dispatch > '0')
"""
