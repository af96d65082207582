"""The SQL statements of workers: what each does, and what it means if it affects or returns no row."""

# Records that a message has arrived in time. Returns when the interruption began, and its length in seconds. No row:
# there was no interruption.
#
# After an interruption, `alive_until` of every worker that was alive when it began is extended by its length, because
# no heartbeat could arrive. For a worker with a later heartbeat, the length counts from that heartbeat. If two
# processes confirm at once, the second waits for the row and then finds no interruption.
CONFIRM_MESSAGES = """
WITH interrupted AS (
    SELECT arrived_at AS since FROM executions_messagepath WHERE expected_by < now() FOR UPDATE
), alive AS (
    SELECT w.id FROM executions_worker w CROSS JOIN interrupted i
    WHERE w.stopped_at IS NULL AND w.protocol = 'celery' AND w.alive_until >= i.since
    ORDER BY w.id FOR UPDATE OF w
), credited AS (
    UPDATE executions_worker w SET alive_until = w.alive_until + (now() - greatest(i.since, w.last_heartbeat_at))
    FROM alive CROSS JOIN interrupted i WHERE w.id = alive.id
), confirmed AS (
    INSERT INTO executions_messagepath AS path (id, arrived_at, expected_by)
    VALUES (1, now(), now() + make_interval(secs => %s))
    ON CONFLICT (id) DO UPDATE SET arrived_at = excluded.arrived_at, expected_by = excluded.expected_by
        WHERE path.arrived_at < excluded.arrived_at
)
SELECT since, extract(epoch FROM now() - since) FROM interrupted
"""

# Extends the leases that were valid when the interruption began by its length too, because no heartbeat could renew
# them, and the outcome of a call could not be recorded if the database was away. No row: no worker held a lease.
#
# A lease that was granted or renewed later is extended to its full time.
EXTEND_LEASES = """
WITH unrenewed AS (
    SELECT id FROM executions_execution
    WHERE status = 'RUNNING' AND lease_expires_at >= %(since)s
        AND lease_expires_at < now() + make_interval(secs => %(lease)s)
    ORDER BY id FOR UPDATE
)
UPDATE executions_execution e
SET lease_expires_at = least(e.lease_expires_at + (now() - %(since)s), now() + make_interval(secs => %(lease)s))
FROM unrenewed WHERE e.id = unrenewed.id
"""

# Writes an event for each worker that has become silent, and skips locked workers. No row: none has, or other processes
# note those that have. A row that changed since the view was read is skipped, because the state from the view is
# outdated.
NOTE_SILENT = """
WITH silent AS (
    SELECT w.id FROM executions_workereligibility v
    JOIN executions_worker viewed ON viewed.id = v.worker_id
    JOIN executions_worker w ON w.id = viewed.id AND w.noted_state = viewed.noted_state
        AND w.last_heartbeat_at = viewed.last_heartbeat_at
    WHERE viewed.stopped_at IS NULL AND v.state = 'STALE' AND viewed.noted_state <> 'STALE'
    ORDER BY w.id LIMIT %(limit)s FOR UPDATE OF w SKIP LOCKED
), noted AS (
    UPDATE executions_worker w SET noted_state = 'STALE' FROM silent WHERE w.id = silent.id
    RETURNING w.id, w.last_heartbeat_at
)
INSERT INTO executions_workerevent (worker_id, state, actor, data)
SELECT id, 'STALE', %(actor)s, jsonb_build_object('cause', 'SILENT', 'lastHeartbeatAt', last_heartbeat_at)
FROM noted
"""

# Finds the releases with due executions that no worker may run, without paused ones. No row: nothing is stranded.
#
# A draining worker may send heartbeats long after it took its last work. Nothing says when a worker without a free
# thread, or one whose code the policy refuses, took its last work, so these do not count. STOPPED is a reason only if
# there is no other.
STRANDED = """
WITH hosted AS MATERIALIZED (
    SELECT v.release_id FROM executions_workereligibility v
    WHERE v.tenant_id = ANY(%(tenants)s) AND v.present AND v.reason IS NULL
), waiting AS (
    SELECT e.release_id, count(*) AS executions, min(e.next_due_at) AS oldest
    FROM executions_execution e
    WHERE e.tenant_id = ANY(%(tenants)s) AND e.status = ANY(%(due)s) AND e.next_due_at <= now()
        AND NOT e.held AND NOT EXISTS (SELECT FROM executions_heldrelease p WHERE p.release_id = e.release_id)
        AND NOT EXISTS (SELECT FROM hosted h WHERE h.release_id = e.release_id)
    GROUP BY e.release_id
)
SELECT r.id, t.slug, p.pipeline_id, r.contract_version, r.release_version, w.executions, greatest(w.oldest, h.until),
    coalesce(h.reasons, '{}')
FROM waiting w
JOIN releases_release r ON r.id = w.release_id
JOIN releases_pipeline p ON p.id = r.pipeline_id
JOIN tenancy_tenant t ON t.id = p.tenant_id
CROSS JOIN LATERAL (
    SELECT max(CASE WHEN v.artifact_fits IS NOT FALSE
            AND coalesce(v.reason, '') NOT IN ('NO_FREE_THREAD', 'UNVERIFIED_CODE')
        THEN least(w.last_heartbeat_at, w.draining_since, w.drained_by_operator_at, w.stopped_at) END) AS until,
        coalesce(array_agg(DISTINCT v.reason) FILTER (WHERE v.reason <> 'STOPPED'), array_agg(DISTINCT v.reason))
            AS reasons
    FROM executions_workereligibility v JOIN executions_worker w ON w.id = v.worker_id WHERE v.release_id = r.id
) h
ORDER BY w.executions DESC, r.id
"""

# Stops Celery workers that have been silent for `days`, each with its event, and skips locked workers. No row: no
# worker has been silent for so long. Time in which no message arrived does not count, and a later heartbeat registers a
# worker again.
GIVE_UP = """
WITH silent AS (
    SELECT w.id FROM executions_worker w
    WHERE w.stopped_at IS NULL AND w.protocol = 'celery'
        AND w.alive_until < (SELECT worker_clock()) - make_interval(days => %(days)s)
    ORDER BY w.id LIMIT %(limit)s FOR UPDATE OF w SKIP LOCKED
), stopped AS (
    UPDATE executions_worker w SET stopped_at = now(), noted_state = 'UNAVAILABLE' FROM silent WHERE w.id = silent.id
    RETURNING w.id, w.last_heartbeat_at
)
INSERT INTO executions_workerevent (worker_id, state, actor, data)
SELECT id, 'UNAVAILABLE', %(actor)s, jsonb_build_object('cause', 'GIVEN_UP', 'lastHeartbeatAt', last_heartbeat_at)
FROM stopped
"""

# Removes workers that stopped more than `days` ago, and skips locked ones. Returns their ids. No row: there are none. A
# worker that an operator drains is kept, because the drain also applies to a process that starts later.
REMOVE_FORMER = """
DELETE FROM executions_worker WHERE id IN (
    SELECT w.id FROM executions_worker w
    WHERE w.stopped_at < now() - make_interval(days => %(days)s) AND w.drained_by_operator_at IS NULL
    ORDER BY w.stopped_at LIMIT %(limit)s FOR UPDATE OF w SKIP LOCKED)
RETURNING id
"""
REMOVE_EVENTS_OF_FORMER = "DELETE FROM executions_workerevent WHERE worker_id = ANY(%s)"
