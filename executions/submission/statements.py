"""The SQL statements of submission: what each does, and what it means if it returns no row."""

from string import Template

Column = tuple[str, str, str]
"""The name and the type of a value of a new execution in the parameter `rows`, and its column in `executions`."""

_CHANNEL: tuple[Column, ...] = (("notify", "uuid", "notify"),)
# What decides when an execution starts, and its parent. A trigger sets when it is due.
_START: tuple[Column, ...] = (
    ("not_before", "timestamptz", "not_before"),
    ("expires", "timestamptz", "expires_at"),
    ("priority", "int2", "priority"),
    ("limited", "text", "concurrency_key"),
    ("parent", "uuid", "parent_id"),
)
_START_OF_EVENT = """
            || jsonb_strip_nulls(jsonb_build_object(
                'notBefore', a.not_before, 'expiresAt', a.expires, 'concurrencyKey', a.limited,
                'priority', CASE a.priority WHEN 1 THEN 'high' WHEN -1 THEN 'low' END,
                'parentExecutionId', a.parent))"""
# Inserts the values by which the executions can be found.
_INDEXED = """, indexed AS (
    INSERT INTO executions_searchvalue (execution_id, pipeline_id, name, text, number, time)
    SELECT accepted.id, r.pipeline_id, v.name, v.text, v.number, v.time
    FROM accepted JOIN requested a ON a.id = accepted.id JOIN releases_release r ON r.id = a.release
    CROSS JOIN LATERAL jsonb_to_recordset(a.search) AS v(name text, text text, number numeric, time timestamptz)
)"""


def _insertion(*, notifies: bool, searched: bool, starts: bool) -> str:
    """Return the statement for rows if any names a channel, has values to search, or says when it starts.

    No other submission pays for these columns.
    """
    added = (_CHANNEL if notifies else ()) + (_START if starts else ())
    searches: tuple[Column, ...] = (("search", "jsonb", ""),) if searched else ()
    return _INSERT.substitute(
        types="".join(f", {name} {kind}" for name, kind, _ in added + searches),
        names="".join(f", {name}" for name, _, _ in added + searches),
        columns="".join(f", {column}" for _, _, column in added),
        values="".join(f", a.{name}" for name, _, _ in added),
        indexed=_INDEXED if searched else "",
        start=_START_OF_EVENT if starts else "",
    )


# Inserts a row only if its release is still registered, its pipeline had no activation since the admission, no pause of
# its release, of the pipeline, or of the active release if the caller named none refuses submissions, its token is
# still valid, and the token's owner may still submit: the statement verifies cached admissions and tokens against the
# tables. A smoke test runs on any registered release. A trigger verifies that the release is active, the candidate,
# named and still open, or of a smoke test. If several rows have the same key, the first one is inserted. Rows are
# inserted in the order of their keys, so that concurrent groups never deadlock. `notify_by_policy` is true or null, so
# that it takes no space in other rows. Returns the id and the creation time of each inserted execution, in microseconds
# of Unix time. A row that is missing was not admitted, or its key was used. No row: that is true of all of them.
_INSERT = Template("""
WITH requested AS (
    SELECT * FROM ROWS FROM (json_to_recordset(%(rows)s::json) AS (
        id uuid, release bigint, activation bigint, key text, digest text, input jsonb, shape text, result_shape text,
        checkpoints bool, actor text, token text, wire_input jsonb, tags varchar[], named bool, smoke bool,
        traceparent text${types}))
        WITH ORDINALITY AS a(id, release, activation, key, digest, input, shape, result_shape, checkpoints, actor,
            token, wire_input, tags, named, smoke, traceparent${names}, place)
), accepted AS (
    INSERT INTO executions_execution (
        id, tenant_id, release_id, pipeline_id, contract_version, release_version, execution_key, input_digest, input,
        input_shape, result_shape, checkpoints, smoke, notify_by_policy, submitted_by, tags, traceparent${columns})
    SELECT a.id, p.tenant_id, r.id, p.pipeline_id, r.contract_version, r.release_version, a.key, a.digest, a.input -> 0,
        a.shape, a.result_shape, a.checkpoints, a.smoke IS TRUE, nullif(p.notify_channel IS NOT NULL, false), a.actor,
        a.tags, a.traceparent${values}
    FROM requested a
    JOIN releases_release r ON r.id = a.release AND r.status = 'REGISTERED'
    JOIN releases_pipeline p ON p.id = r.pipeline_id AND (p.activation_id = a.activation OR a.smoke)
    WHERE NOT EXISTS (SELECT FROM executions_hold h WHERE h.ended_at IS NULL AND h.refuses_submissions
        AND (h.release_id = r.id OR h.pipeline_id = p.id OR a.named IS NOT TRUE
            AND h.release_id = (SELECT v.release_id FROM releases_activation v WHERE v.id = a.activation)))
        AND (a.token IS NULL OR EXISTS (
            SELECT FROM tenancy_apitoken t JOIN auth_user u ON u.id = t.user_id
            LEFT JOIN tenancy_membership m ON m.user_id = t.user_id AND m.tenant_id = t.tenant_id
            WHERE t.digest = a.token AND t.tenant_id = p.tenant_id AND t.expiry > statement_timestamp()
                AND %(scope)s = ANY (t.scopes)
                AND u.is_active AND (u.is_superuser OR m.role = ANY (%(roles)s::text[]))))
    ORDER BY p.tenant_id, p.pipeline_id, a.key, a.place
    ON CONFLICT (tenant_id, pipeline_id, execution_key) DO NOTHING
    RETURNING id, status, contract_version, release_version, submitted_by, created_at
), kept AS (
    INSERT INTO executions_wireform (execution_id, input)
    SELECT accepted.id, a.wire_input FROM accepted JOIN requested a ON a.id = accepted.id WHERE a.wire_input IS NOT NULL
)${indexed}, events AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
    SELECT accepted.id, 1, 'SUBMITTED', status, submitted_by,
        jsonb_build_object('contractVersion', contract_version, 'releaseVersion', release_version)
            || CASE WHEN a.named THEN jsonb_build_object('requestedReleaseVersion', release_version) ELSE '{}' END
            || CASE WHEN a.smoke THEN '{"smoke": true}'::jsonb ELSE '{}' END${start}
    FROM accepted JOIN requested a ON a.id = accepted.id
)
SELECT id, (extract(epoch FROM created_at) * 1000000)::bigint FROM accepted
""")

# The insertion by whether a row of its group names a channel, has values that can be searched, and says when it starts.
INSERTIONS = {
    (notifies, searched, starts): _insertion(notifies=notifies, searched=searched, starts=starts)
    for notifies in (False, True)
    for searched in (False, True)
    for starts in (False, True)
}

# Inserts the receipt of an admission. The database chooses its time, so the statement does not name that column.
INSERT_RECEIPT = """
INSERT INTO executions_admissionreceipt (
    execution_id, tenant_id, pipeline_id, release_id, client_key, intent_fingerprint, release_fingerprint, artifact_id,
    artifact_digest)
VALUES (
    %(execution_id)s, %(tenant_id)s, %(pipeline_id)s, %(release_id)s, %(client_key)s, %(intent_fingerprint)s,
    %(release_fingerprint)s, %(artifact_id)s, %(artifact_digest)s)
"""

# Links locked executions to the new executions that the next statement inserts. Returns the ids of the new executions.
# A row that is missing is not resubmitted: its execution has changed, its operation key or the key of the new execution
# was used, or another execution than `replaced` carries on its work.
LINK = """
WITH requested AS (
    SELECT * FROM json_to_recordset(%(rows)s::json) AS a(
        id uuid, old uuid, version bigint, operation text, key text, edited bool, step int, items int, actor text,
        reason text, campaign uuid, replaced uuid)
)
INSERT INTO executions_resubmission (
    new_execution_id, execution_id, execution_version, operation_key, campaign_id, edited, checkpoint_step, items,
    actor, reason)
SELECT a.id, a.old, a.version, a.operation, a.campaign, a.edited, a.step, a.items, a.actor, a.reason
FROM requested a JOIN executions_execution e ON e.id = a.old
WHERE e.version = a.version AND e.finished_at IS NOT NULL
    AND NOT EXISTS (SELECT FROM executions_execution x
        WHERE x.tenant_id = e.tenant_id AND x.pipeline_id = e.pipeline_id AND x.execution_key = a.key)
    AND replacement_of(e.id, a.items IS NOT NULL) IS NOT DISTINCT FROM a.replaced
ORDER BY a.old
ON CONFLICT DO NOTHING
RETURNING new_execution_id
"""

# Inserts the new executions of links, in the order of their keys, with tags, channels and priorities of the old ones.
# An input that was not edited is copied, with its typed payload if the release takes that. With a step, so is the
# checkpoint, or with `items` the items that failed at the step. Returns the ids of the new executions. A row that is
# missing was not inserted: its release is not registered, or its key was used.
_INSERT_LINKED = Template("""
WITH requested AS (
    SELECT * FROM json_to_recordset(%(rows)s::json) AS a(
        id uuid, old uuid, release bigint, key text, digest text, input jsonb, shape text, result_shape text,
        checkpoints bool, typed bool, step int, items int, actor text, campaign uuid,
        limited text${types})
), accepted AS (
    INSERT INTO executions_execution (
        id, tenant_id, release_id, pipeline_id, contract_version, release_version, execution_key, input_digest, input,
        input_shape, result_shape, checkpoints, priority, concurrency_key, notify_by_policy, submitted_by, tags, notify,
        current_step_index, progress, progress_shape)
    SELECT a.id, p.tenant_id, r.id, p.pipeline_id, r.contract_version, r.release_version, a.key,
        coalesce(a.digest, o.input_digest), coalesce(a.input -> 0, o.input), a.shape, a.result_shape, a.checkpoints,
        o.priority, a.limited, nullif(p.notify_channel IS NOT NULL, false), a.actor, o.tags, o.notify,
        coalesce(a.step, 0),
        CASE WHEN a.items IS NOT NULL THEN (SELECT jsonb_path_query_array(f.items, '$$[*].item')
            FROM executions_faileditems f WHERE f.execution_id = o.id AND f.step_index = a.step)
            WHEN a.step IS NOT NULL THEN o.progress END,
        CASE WHEN a.items IS NOT NULL THEN 'MULTI' WHEN a.step IS NOT NULL THEN o.progress_shape END
    FROM requested a
    JOIN executions_resubmission s ON s.new_execution_id = a.id
    JOIN executions_execution o ON o.id = a.old
    JOIN releases_release r ON r.id = a.release AND r.status = 'REGISTERED'
    JOIN releases_pipeline p ON p.id = r.pipeline_id AND p.tenant_id = o.tenant_id AND p.pipeline_id = o.pipeline_id
    ORDER BY p.tenant_id, p.pipeline_id, a.key
    ON CONFLICT (tenant_id, pipeline_id, execution_key) DO NOTHING
    RETURNING id, status, contract_version, release_version, submitted_by
), kept AS (
    INSERT INTO executions_wireform (execution_id, input)
    SELECT accepted.id, w.input FROM accepted JOIN requested a ON a.id = accepted.id AND a.typed
    JOIN executions_wireform w ON w.execution_id = a.old WHERE w.input IS NOT NULL
)${indexed}, events AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
    SELECT accepted.id, 1, 'SUBMITTED', status, submitted_by, jsonb_strip_nulls(jsonb_build_object(
        'contractVersion', contract_version, 'releaseVersion', release_version, 'resubmittedFrom', a.old,
        'checkpointStep', a.step, 'items', a.items, 'campaignId', a.campaign))
    FROM accepted JOIN requested a ON a.id = accepted.id
)
SELECT id FROM accepted
""")
INSERT_LINKED = _INSERT_LINKED.substitute(types="", indexed="")
# The same, for rows if at least one has values that can be searched.
INSERT_LINKED_WITH_SEARCH = _INSERT_LINKED.substitute(types=", search jsonb", indexed=_INDEXED)
