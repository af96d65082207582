"""The SQL statement that reads the samples, and what it means if it returns no row."""

# Returns, for each of the newest executions of each release that were created since its time and have ended: the
# release, whether it failed, and its duration in seconds. The duration is null if it failed, waited for an answer, or
# existed during a pause. Executions that resubmit others are left out, because people chose them by their first result,
# and so are smoke tests. No row: none has ended.
SAMPLES = """
SELECT sample.* FROM unnest(%(releases)s::bigint[], %(since)s::timestamptz[]) wanted (release, since),
LATERAL (SELECT e.release_id, e.status <> 'SUCCEEDED', CASE WHEN e.status = 'SUCCEEDED'
    AND NOT EXISTS (SELECT FROM executions_awaitunit u WHERE u.execution_id = e.id)
    AND NOT EXISTS (SELECT FROM executions_hold h
        WHERE (h.execution_id = e.id OR h.release_id = e.release_id OR h.pipeline_id = %(pipeline)s)
            AND h.started_at < e.finished_at AND (h.ended_at IS NULL OR h.ended_at > e.created_at))
    THEN extract(epoch FROM e.finished_at - e.created_at)::float8 END
FROM executions_execution e
WHERE e.tenant_id = %(tenant)s AND e.release_id = wanted.release AND e.created_at >= wanted.since
    AND (%(until)s::timestamptz IS NULL OR e.created_at < %(until)s) AND e.status IN ('SUCCEEDED', 'FAILED', 'DLQ')
    AND NOT e.smoke AND NOT EXISTS (SELECT FROM executions_resubmission s WHERE s.new_execution_id = e.id)
ORDER BY e.created_at DESC, e.id DESC LIMIT %(limit)s) sample
"""
