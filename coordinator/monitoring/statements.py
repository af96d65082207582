"""The SQL statements of the monitoring: what each does, and what bounds it."""

# Returns the due executions of each release that has any: their number, the seconds since the oldest was due, and
# whether an eligible worker hosts the release. Paused work does not count. Counts at most `most` executions of each of
# `releases` releases, which it finds one by one in the index of due executions.
DUE = """
WITH RECURSIVE found (id) AS (
    (SELECT e.release_id FROM executions_execution e
        WHERE e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held ORDER BY e.release_id LIMIT 1)
    UNION ALL
    SELECT (SELECT e.release_id FROM executions_execution e
        WHERE e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held AND e.release_id > f.id
        ORDER BY e.release_id LIMIT 1)
    FROM found f WHERE f.id IS NOT NULL
), few AS (
    SELECT id FROM found WHERE id IS NOT NULL LIMIT %(releases)s
)
SELECT t.slug, p.pipeline_id, r.release_version, due.count, extract(epoch FROM now() - due.oldest)::float8,
    EXISTS (SELECT FROM executions_workereligibility v WHERE v.release_id = r.id AND v.present AND v.reason IS NULL)
FROM few
CROSS JOIN LATERAL (
    SELECT count(*) AS count, min(d.next_due_at) AS oldest FROM (
        SELECT e.next_due_at FROM executions_execution e
        WHERE e.release_id = few.id AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held AND e.next_due_at <= now()
        ORDER BY e.next_due_at LIMIT %(most)s) d
) due
JOIN releases_release r ON r.id = few.id
JOIN releases_pipeline p ON p.id = r.pipeline_id
JOIN tenancy_tenant t ON t.id = p.tenant_id
WHERE due.count > 0 AND NOT EXISTS (SELECT FROM executions_heldrelease h WHERE h.release_id = r.id)
"""

# Returns the open interactions by tenant, and how many of them are past their deadline, without those of paused
# executions, whose deadlines move. Timers wait for nobody, so they do not count. Counts at most `most`, those with the
# earliest deadlines, from the index of open ones.
AWAITS = """
SELECT t.slug, count(*), count(*) FILTER (WHERE i.deadline <= now() AND NOT EXISTS (
    SELECT FROM executions_execution e WHERE e.id = i.execution_id
        AND (e.held OR e.release_id IN (SELECT release_id FROM executions_heldrelease))))
FROM (
    SELECT tenant_id, execution_id, deadline FROM executions_interaction
    WHERE status IN ('WAITING', 'DISPATCHING', 'DISPATCHED') AND transport <> 'timer'
    ORDER BY deadline LIMIT %(most)s
) i
JOIN tenancy_tenant t ON t.id = i.tenant_id
GROUP BY t.slug
"""

# Returns the workers that have not stopped by release and state, and the age of their oldest heartbeat. The limit on
# the workers of each tenant bounds it, and `most`.
WORKERS = """
SELECT t.slug, w.pipeline_id, w.release_version, v.state, count(*),
    max(extract(epoch FROM now() - w.last_heartbeat_at))::float8
FROM (SELECT * FROM executions_worker WHERE stopped_at IS NULL ORDER BY id DESC LIMIT %(most)s) w
JOIN executions_workereligibility v ON v.worker_id = w.id
JOIN tenancy_tenant t ON t.id = w.tenant_id
GROUP BY t.slug, w.pipeline_id, w.release_version, v.state
"""

# Returns the stored blobs by state, of the `most` whose last check is longest ago, and the age of the oldest check.
BLOBS = """
SELECT b.state, count(*), max(extract(epoch FROM now() - b.checked_at))::float8
FROM (SELECT state, checked_at FROM releases_blob WHERE state <> 'REMOVED' ORDER BY checked_at LIMIT %(most)s) b
GROUP BY b.state
"""

# Returns the processes that have reported themselves. Rows without reports are removed, which bounds it.
PROCESSES = """
SELECT kind, host, pid, version, started_at, reported_at, extract(epoch FROM now() - started_at)::float8,
    extract(epoch FROM now() - reported_at)::float8, drift_seconds, jobs
FROM coordinator_process ORDER BY kind, host, pid LIMIT 1000
"""

# Records that a process runs, and removes the rows of processes that have not reported themselves for `kept` seconds.
# Always writes one row.
REPORT = """
WITH old AS (
    SELECT id FROM coordinator_process
    WHERE reported_at < now() - make_interval(secs => %(kept)s) AND NOT (host = %(host)s AND pid = %(pid)s)
    FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM coordinator_process p USING old WHERE p.id = old.id
)
INSERT INTO coordinator_process (kind, host, pid, version, started_at, reported_at, drift_seconds, jobs)
VALUES (%(kind)s, %(host)s, %(pid)s, %(version)s, now() - make_interval(secs => %(age)s), now(),
    %(clock)s - extract(epoch FROM clock_timestamp())::float8,
    (SELECT jsonb_object_agg(name, now() - make_interval(secs => age::float))
        FROM jsonb_each_text(%(jobs)s) j (name, age)))
ON CONFLICT (kind, host, pid) DO UPDATE SET version = excluded.version, started_at = excluded.started_at,
    reported_at = excluded.reported_at, drift_seconds = excluded.drift_seconds, jobs = excluded.jobs
"""

# Removes the row of a process that ends. No row: it had not reported itself.
LEAVE = "DELETE FROM coordinator_process WHERE kind = %(kind)s AND host = %(host)s AND pid = %(pid)s"
