"""The SQL statements of submission: what each does, and what it means if it returns no row."""

# Inserts a row only if its release is still registered and active, no pause refuses submissions, its token is still
# valid, and the token's owner may still submit: the statement verifies cached admissions and tokens against the tables.
# If several rows have the same key, the first one is inserted. Rows are inserted in the order of their keys, so that
# concurrent groups never deadlock. Returns the id and the creation time of each inserted execution. A row that is
# missing was not admitted, or its key was used. No row: that is true of all of them.
INSERT = """
WITH requested AS (
    SELECT * FROM ROWS FROM (json_to_recordset(%(rows)s) AS (
        id uuid, release bigint, activation bigint, key text, digest text, input jsonb, shape text, result_shape text,
        checkpoints bool, actor text, token text, wire_input jsonb)) WITH ORDINALITY
        AS a(id, release, activation, key, digest, input, shape, result_shape, checkpoints, actor, token, wire_input,
             place)
), accepted AS (
    INSERT INTO executions_execution (
        id, tenant_id, release_id, pipeline_id, contract_version, release_version, execution_key, input_digest, input,
        input_shape, result_shape, checkpoints, submitted_by)
    SELECT a.id, p.tenant_id, r.id, p.pipeline_id, r.contract_version, r.release_version, a.key, a.digest, a.input -> 0,
        a.shape, a.result_shape, a.checkpoints, a.actor
    FROM requested a
    JOIN releases_release r ON r.id = a.release AND r.status = 'REGISTERED'
    JOIN releases_pipeline p ON p.id = r.pipeline_id AND p.activation_id = a.activation
    WHERE NOT EXISTS (SELECT FROM executions_hold h WHERE h.ended_at IS NULL AND h.refuses_submissions
        AND (h.release_id = r.id OR h.pipeline_id = p.id))
        AND (a.token IS NULL OR EXISTS (
            SELECT FROM tenancy_apitoken t JOIN auth_user u ON u.id = t.user_id
            LEFT JOIN tenancy_membership m ON m.user_id = t.user_id AND m.tenant_id = t.tenant_id
            WHERE t.digest = a.token AND t.tenant_id = p.tenant_id AND t.expiry > statement_timestamp()
                AND %(scope)s = ANY (t.scopes) AND u.is_active AND (u.is_superuser OR m.role = ANY (%(roles)s))))
    ORDER BY p.tenant_id, p.pipeline_id, a.key, a.place
    ON CONFLICT (tenant_id, pipeline_id, execution_key) DO NOTHING
    RETURNING id, status, contract_version, release_version, submitted_by, created_at
), kept AS (
    INSERT INTO executions_wireform (execution_id, input)
    SELECT accepted.id, a.wire_input FROM accepted JOIN requested a ON a.id = accepted.id WHERE a.wire_input IS NOT NULL
), events AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
    SELECT id, 1, 'SUBMITTED', status, submitted_by,
        jsonb_build_object('contractVersion', contract_version, 'releaseVersion', release_version)
    FROM accepted
)
SELECT id, created_at FROM accepted
"""
