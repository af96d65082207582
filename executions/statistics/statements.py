"""The SQL statements of the statistics: what each does, and what bounds it."""

# Selects what finished in a tenant `t`, from two indexes on the tenant and the time, each in the order of that time.
# Failures are read from their dead letters, because a failed execution may have been re-driven since. OFFSET keeps the
# planner from reading all executions instead of looking these up. Smoke tests count for no statistics.
_FINISHED = """
    SELECT e.release_id, date_trunc('minute', e.finished_at) AS minute, e.status FROM executions_execution e
    WHERE e.tenant_id = t.id AND e.finished_at >= span.first AND e.finished_at < span.last
        AND e.status IN ('SUCCEEDED', 'CANCELLED') AND NOT e.smoke {of} {newest_finished}
    ) UNION ALL (
    SELECT e.release_id, date_trunc('minute', d.created_at), d.terminal_status FROM executions_deadletter d
    CROSS JOIN LATERAL (SELECT e.release_id FROM executions_execution e
        WHERE e.id = d.execution_id AND NOT e.smoke {of} OFFSET 0) e
    WHERE d.tenant_id = t.id AND d.created_at >= span.first AND d.created_at < span.last {newest_failed}
"""

_ALL = _FINISHED.format(of="", newest_finished="", newest_failed="")
_NEWEST = _FINISHED.format(
    of="""AND (%(pipeline)s::bigint IS NULL
        OR e.release_id IN (SELECT id FROM releases_release WHERE pipeline_id = %(pipeline)s))""",
    newest_finished="ORDER BY e.finished_at DESC LIMIT %(most)s",
    newest_failed="ORDER BY d.created_at DESC, d.id DESC LIMIT %(most)s",
)

# Counts the executions that finished in each complete minute, by release. It starts a few minutes before the newest
# count, because an execution may be committed some time after its finish time. Counts only grow. An execution that
# failed and was re-driven stays counted, also if it was re-driven before. Safe to run at any time and in several
# processes at once: the rows are locked in one order.
COUNT = f"""
WITH span AS (
    SELECT greatest((SELECT max(minute) FROM executions_finishedcount) - make_interval(mins => %(overlap)s),
            date_trunc('minute', now()) - make_interval(hours => %(hours)s)) AS first,
        date_trunc('minute', now()) AS last
), found AS (
    SELECT f.release_id, f.minute, count(*) FILTER (WHERE f.status = 'SUCCEEDED') AS succeeded,
        count(*) FILTER (WHERE f.status IN ('DLQ', 'FAILED')) AS failed,
        count(*) FILTER (WHERE f.status = 'CANCELLED') AS cancelled
    FROM span CROSS JOIN tenancy_tenant t CROSS JOIN LATERAL (({_ALL})) f
    GROUP BY f.release_id, f.minute
)
INSERT INTO executions_finishedcount AS known (release_id, minute, succeeded, failed, cancelled)
SELECT release_id, minute, succeeded, failed, cancelled FROM found ORDER BY minute, release_id
ON CONFLICT (minute, release_id) DO UPDATE SET succeeded = greatest(known.succeeded, excluded.succeeded),
    failed = greatest(known.failed, excluded.failed), cancelled = greatest(known.cancelled, excluded.cancelled)
"""  # noqa: S608  # nosec B608

# Removes the counts that no page shows any more.
FORGET = "DELETE FROM executions_finishedcount WHERE minute < now() - make_interval(hours => %(hours)s)"

# Returns the executions that finished since a time, by release and interval: succeeded, failed, cancelled. Minutes
# after the newest count are counted here: at most the last %(recent)s minutes, and %(most)s executions of each tenant
# and index.
SERIES = f"""
WITH span AS (
    SELECT greatest((SELECT max(minute) FROM executions_finishedcount) + interval '1 minute', %(since)s,
        date_trunc('minute', now()) - make_interval(mins => %(recent)s)) AS first, 'infinity'::timestamptz AS last
), counted AS (
    SELECT c.release_id, c.minute, c.succeeded, c.failed, c.cancelled FROM executions_finishedcount c
    JOIN releases_release r ON r.id = c.release_id JOIN releases_pipeline p ON p.id = r.pipeline_id
    WHERE c.minute >= %(since)s AND p.tenant_id = ANY(%(tenants)s)
        AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
    UNION ALL
    SELECT f.release_id, f.minute, (f.status = 'SUCCEEDED')::int, (f.status IN ('DLQ', 'FAILED'))::int,
        (f.status = 'CANCELLED')::int
    FROM span CROSS JOIN unnest(%(tenants)s::bigint[]) AS t (id)
    CROSS JOIN LATERAL (({_NEWEST})) f
)
SELECT release_id, date_bin(make_interval(secs => %(seconds)s), minute, %(since)s) AS bucket,
    sum(succeeded)::bigint, sum(failed)::bigint, sum(cancelled)::bigint
FROM counted GROUP BY 1, 2
"""  # noqa: S608  # nosec B608

# Counts the terminal failures of the last day and of the last hour, by release and error code. At most the newest
# %(most)s of each tenant are read, from an index on the tenant and the time. OFFSET keeps the planner from reading all
# executions instead of looking these up.
FAILURES = """
SELECT e.release_id, d.error_code, count(*), count(*) FILTER (WHERE d.created_at >= now() - interval '1 hour') AS hour
FROM unnest(%(tenants)s::bigint[]) AS t (id) CROSS JOIN LATERAL (
    SELECT d.execution_id, d.error_code, d.created_at FROM executions_deadletter d
    WHERE d.tenant_id = t.id AND d.created_at >= now() - interval '1 day'
    ORDER BY d.created_at DESC, d.id DESC LIMIT %(most)s
) d CROSS JOIN LATERAL (
    SELECT e.release_id FROM executions_execution e WHERE e.id = d.execution_id AND NOT e.smoke OFFSET 0
) e
GROUP BY e.release_id, d.error_code ORDER BY hour DESC, d.error_code
"""

# Counts the live executions of each release by status: at most %(most)s of a release, from an index on the live ones.
LIVE = """
SELECT r.id, e.status, count(*) FROM releases_pipeline p JOIN releases_release r ON r.pipeline_id = p.id
CROSS JOIN LATERAL (
    SELECT e.status FROM executions_execution e WHERE e.release_id = r.id AND NOT e.smoke
        AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED') LIMIT %(most)s
) e
WHERE p.tenant_id = ANY(%(tenants)s) GROUP BY r.id, e.status
"""
