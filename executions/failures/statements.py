"""The SQL statements of failure groups: what each does, and what it means if it affects or returns no row."""

# Counts the newest failures of each group, at most `most` + 1: all of them, those whose execution is still failed, and
# the time of the newest. Always one row for each id.
COUNTS = """
SELECT g.id, f.total, f.still_open, f.newest_at FROM unnest(%(ids)s::uuid[]) AS g(id)
CROSS JOIN LATERAL (
    SELECT count(*) AS total, max(l.created_at) AS newest_at,
        count(*) FILTER (WHERE e.status IN ('FAILED', 'DLQ') AND e.version = l.execution_version) AS still_open
    FROM (SELECT d.execution_id, d.execution_version, d.created_at FROM executions_deadletter d
        WHERE d.group_id = g.id ORDER BY d.created_at DESC, d.id DESC LIMIT %(most)s + 1) l
    JOIN executions_execution e ON e.id = l.execution_id
) f
"""

# Counts the failures of each group in each of the last 24 hours, at most `most` in an hour. Hour 0 ends now. No row for
# an hour without failures.
TREND = """
SELECT g.id, h.hour, f.count FROM unnest(%(ids)s::uuid[]) AS g(id)
CROSS JOIN generate_series(0, 23) AS h(hour)
CROSS JOIN LATERAL (
    SELECT count(*) AS count FROM (SELECT FROM executions_deadletter d
        WHERE d.group_id = g.id AND d.created_at > now() - make_interval(hours => h.hour + 1)
            AND d.created_at <= now() - make_interval(hours => h.hour) LIMIT %(most)s) l
) f
WHERE f.count > 0
"""
