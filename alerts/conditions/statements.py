"""The SQL statements of the conditions: what each finds, and what bounds it."""

# Finds the pipelines of whose executions at least %(percent)s percent failed, or %(still)s percent if an alert is
# firing. Reads the counts by minute from their index on the time. No row: too few failed, or too few ended.
FAILURE_RATES = """
SELECT p.id, p.pipeline_id, sum(c.failed)::bigint, sum(c.failed + c.succeeded)::bigint
FROM executions_finishedcount c JOIN releases_release r ON r.id = c.release_id
JOIN releases_pipeline p ON p.id = r.pipeline_id
WHERE c.minute >= now() - make_interval(mins => %(minutes)s) AND p.tenant_id = %(tenant)s
    AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
GROUP BY p.id, p.pipeline_id
HAVING sum(c.failed + c.succeeded) >= %(minimum)s
    AND 100 * sum(c.failed) >= sum(c.failed + c.succeeded)
        * CASE WHEN p.id = ANY(%(firing)s::bigint[]) THEN %(still)s::numeric ELSE %(percent)s::numeric END
ORDER BY sum(c.failed) DESC, p.id LIMIT %(most)s
"""

# Finds the releases with due work that is late although a worker may run it, without paused work. Reads one execution
# of each release that has a worker, from the index on due executions. No row: no such work is late.
LATE = """
SELECT r.id, p.pipeline_id, r.release_version, due.next_due_at
FROM releases_pipeline p JOIN releases_release r ON r.pipeline_id = p.id
CROSS JOIN LATERAL (
    SELECT e.next_due_at FROM executions_execution e
    WHERE e.release_id = r.id AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held
    ORDER BY e.next_due_at LIMIT 1
) due
WHERE p.tenant_id = %(tenant)s AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
    AND due.next_due_at <= now() - make_interval(mins => %(minutes)s)
    AND EXISTS (SELECT FROM executions_workereligibility v WHERE v.release_id = r.id AND v.present AND v.reason IS NULL)
    AND NOT EXISTS (SELECT FROM executions_heldrelease h WHERE h.release_id = r.id)
ORDER BY due.next_due_at, r.id LIMIT %(most)s
"""

# Finds the steps with open questions whose deadline is near. Reads all of the tenant's from the index on the deadline,
# because a limit would hide those of other steps; the time of the statement is limited. Timers are no questions, and
# the deadlines of paused executions move. No row: none is near.
NEAR_DEADLINES = """
SELECT p.id, p.pipeline_id, i.step_id, count(*), min(i.deadline)
FROM executions_interaction i
JOIN executions_execution e ON e.id = i.execution_id JOIN releases_release r ON r.id = e.release_id
JOIN releases_pipeline p ON p.id = r.pipeline_id
WHERE i.tenant_id = %(tenant)s AND i.status IN ('WAITING', 'DISPATCHING', 'DISPATCHED') AND i.transport <> 'timer'
    AND i.deadline <= now() + make_interval(mins => %(minutes)s)
    AND NOT e.held AND e.release_id NOT IN (SELECT release_id FROM executions_heldrelease)
    AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
GROUP BY p.id, p.pipeline_id, i.step_id ORDER BY min(i.deadline), p.id, i.step_id LIMIT %(most)s
"""

# Finds the registered releases of the tenant with damaged or missing blobs. No row: all bytes are sound.
DAMAGED = """
SELECT r.id, p.pipeline_id, r.release_version, count(DISTINCT b.digest), min(b.digest)
FROM releases_blob b JOIN releases_artifact a ON a.blob_id = b.digest JOIN releases_release r ON r.id = a.release_id
JOIN releases_pipeline p ON p.id = r.pipeline_id
WHERE b.state IN ('DAMAGED', 'MISSING') AND r.status = 'REGISTERED' AND p.tenant_id = %(tenant)s
    AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
GROUP BY r.id, p.pipeline_id, r.release_version ORDER BY r.id DESC LIMIT %(most)s
"""
