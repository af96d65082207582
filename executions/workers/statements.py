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

# Returns the database's time in seconds since 1970, and whether a message behind outcomes is unread. Always one row.
MOMENT = """
SELECT extract(epoch FROM clock_timestamp())::float8,
    EXISTS (SELECT FROM executions_outcomepath WHERE unread_since IS NOT NULL)
"""

# Records that a message was sent behind the outcomes that wait. No row: an earlier one has not been read.
EXPECT_OUTCOMES = """
INSERT INTO executions_outcomepath AS path (id, began_at, unread_since, expected_by)
SELECT 1, sent, sent, sent + make_interval(secs => %(seconds)s) FROM to_timestamp(%(sent)s::float8) AS sent
ON CONFLICT (id) DO UPDATE SET began_at = excluded.began_at, unread_since = excluded.unread_since,
    expected_by = excluded.expected_by
    WHERE path.unread_since IS NULL
"""

# Records that the outcomes before a message were read. Returns when the backlog began, and its length in seconds, if
# outcomes were late until now. No row: they were in time, or they are still late.
#
# A message that was read in time ends the backlog. A late one shortens it: the outcomes behind it are as late. One from
# before the backlog, which the broker delivered twice, changes nothing.
CONFIRM_OUTCOMES = """
WITH backlog AS (
    SELECT began_at, expected_by < now() AS late, sent, sent + make_interval(secs => %(seconds)s) >= now() AS in_time
    FROM executions_outcomepath, to_timestamp(%(sent)s::float8) AS sent
    WHERE unread_since <= sent FOR UPDATE OF executions_outcomepath
), confirmed AS (
    UPDATE executions_outcomepath SET began_at = CASE WHEN NOT in_time THEN backlog.began_at END,
        unread_since = CASE WHEN NOT in_time THEN sent END,
        expected_by = CASE WHEN NOT in_time THEN sent + make_interval(secs => %(seconds)s) END
    FROM backlog
)
SELECT began_at, extract(epoch FROM now() - began_at) FROM backlog WHERE late AND in_time
"""

# Returns for how many seconds outcomes have not been read. No row: they are read in time.
OUTCOME_DELAY = """
SELECT extract(epoch FROM now() - unread_since)::float8 FROM executions_outcomepath WHERE expected_by < now()
"""

# Returns whether heartbeats or outcomes are late.
INTERRUPTED = """
SELECT EXISTS (SELECT FROM executions_messagepath WHERE expected_by < now())
    OR EXISTS (SELECT FROM executions_outcomepath WHERE expected_by < now())
"""

# Extends the leases that were valid when the interruption began by its length too, because no heartbeat could renew
# them, and the outcome of a call could not be recorded if the database was away. After a backlog of outcomes, it only
# extends those that have expired: other outcomes are on time. No row: no worker held such a lease.
#
# A lease that was granted or renewed later is extended to its full time.
EXTEND_LEASES = """
WITH unrenewed AS (
    SELECT id FROM executions_execution
    WHERE status = 'RUNNING' AND lease_expires_at >= %(since)s
        AND lease_expires_at < now() + make_interval(secs => %(within)s)
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

# When a worker of release `r` last took work, and why its workers get none.
#
# A draining worker may send heartbeats long after it took its last work. Nothing says when a worker without a free
# thread, or one whose code the policy refuses, took its last work, so these do not count. STOPPED is a reason only if
# there is no other.
WITHOUT_WORK = """
    max(CASE WHEN v.artifact_fits IS NOT FALSE AND coalesce(v.reason, '') NOT IN ('NO_FREE_THREAD', 'UNVERIFIED_CODE')
        THEN least(w.last_heartbeat_at, w.draining_since, w.drained_by_operator_at, w.stopped_at) END) AS until,
    coalesce(array_agg(DISTINCT v.reason) FILTER (WHERE v.reason <> 'STOPPED'), array_agg(DISTINCT v.reason)) AS reasons
    FROM executions_workereligibility v JOIN executions_worker w ON w.id = v.worker_id WHERE v.release_id = r.id
"""

# Finds the releases with due executions that no worker may run, without paused ones. No row: nothing is stranded.
STRANDED = f"""
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
    coalesce(h.reasons, '{{}}')
FROM waiting w
JOIN releases_release r ON r.id = w.release_id
JOIN releases_pipeline p ON p.id = r.pipeline_id
JOIN tenancy_tenant t ON t.id = p.tenant_id
CROSS JOIN LATERAL (SELECT {WITHOUT_WORK}) h
ORDER BY w.executions DESC, r.id
"""  # noqa: S608  # nosec B608

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
