"""The SQL statements of the registry of workers: what each does, and what it means if it affects or returns no row."""

# Updates a locked worker from a further heartbeat. No row is impossible.
REFRESH = """
UPDATE executions_worker SET contract_version = %(contract_version)s, release_version = %(release_version)s,
    protocol = %(protocol)s, endpoint = %(endpoint)s, blocked_reason = %(blocked_reason)s,
    capability_checked_at = %(capability_checked_at)s, artifact_id = %(artifact_id)s,
    artifact_digest = %(artifact_digest)s, code = %(code)s, capacity = %(capacity)s, taking = %(taking)s,
    holding = %(holding)s, running = %(running)s, abandoned = %(abandoned)s,
    transition_seconds = %(transition_seconds)s, last_sent_at = %(last_sent_at)s,
    environment_fingerprint = %(environment_fingerprint)s,
    environment = CASE WHEN %(is_known)s THEN environment ELSE %(environment)s::jsonb END,
    registered_at = CASE WHEN %(registers)s THEN statement_timestamp() ELSE registered_at END,
    last_heartbeat_at = statement_timestamp(),
    alive_until = statement_timestamp() + make_interval(secs => %(stale)s::float8),
    draining_since = CASE WHEN %(drains)s THEN coalesce(draining_since, statement_timestamp()) END,
    stopped_at = CASE WHEN %(stops)s THEN coalesce(stopped_at, statement_timestamp()) END
WHERE id = %(id)s
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
