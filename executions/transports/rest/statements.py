"""The SQL statements of the REST transport: what each does, and what it means if it affects or returns no row."""

# Finds the due worker of each tenant with the oldest check. Of these, claims the one whose tenant was served least
# recently. A claim ends with the check, with another registration, or after `lost` seconds. No row: no worker is due.
CLAIM_CHECK = """
WITH due AS (
    SELECT DISTINCT ON (w.tenant_id) w.id, w.tenant_id, w.capability_checked_at AS since, w.capability_claimed_at
    FROM executions_worker w JOIN executions_workereligibility v ON v.worker_id = w.id
    WHERE w.protocol = 'rest' AND v.present AND v.admits AND w.tenant_id <> ALL(%(full)s)
        AND (w.unanswered_checks > 0) = %(unanswered)s
        AND coalesce(w.capability_checked_at < statement_timestamp()
            - make_interval(secs => least(%(interval)s * 2 ^ greatest(w.unanswered_checks - 1, 0), %(longest)s)), true)
        AND coalesce(w.capability_claimed_at <= greatest(w.capability_checked_at, w.registered_at,
            statement_timestamp() - make_interval(secs => %(lost)s)), true)
    ORDER BY w.tenant_id, w.capability_checked_at NULLS FIRST, w.id
), served AS (
    SELECT w.tenant_id, max(w.capability_claimed_at) AS at FROM executions_worker w
    WHERE w.tenant_id IN (SELECT tenant_id FROM due) GROUP BY 1
), next AS (
    SELECT due.* FROM due LEFT JOIN served USING (tenant_id)
    ORDER BY served.at NULLS FIRST, due.since NULLS FIRST, due.id LIMIT 1
), claimed AS (
    UPDATE executions_worker w SET capability_claimed_at = statement_timestamp()
    FROM next WHERE w.id = next.id AND w.capability_claimed_at IS NOT DISTINCT FROM next.capability_claimed_at
    RETURNING w.id
)
SELECT next.id, next.tenant_id, claimed.id IS NOT NULL FROM next LEFT JOIN claimed USING (id)
"""

# Stores the original outputs of the execution that succeeded at this version. No row: another outcome ended it.
STORE_RESULT = """
INSERT INTO executions_wireform (execution_id, result)
SELECT id, %(result)s FROM executions_execution
WHERE id = %(id)s AND status = 'SUCCEEDED' AND version = %(version)s
ON CONFLICT (execution_id) DO UPDATE SET result = excluded.result
"""
