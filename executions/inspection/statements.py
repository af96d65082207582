"""The SQL statements of inspections: what each reads, and what bounds it."""

from executions.workers.eligibility import WITHOUT_WORK

# Describes the recent submissions of a tenant's pipelines, each time from the newest %(scanned)s executions of the
# tenant that are no smoke tests: an index on the tenant and the time has them in this order. `own` are those of the
# requested pipelines.
_RECENT = """
WITH newest AS (
    SELECT e.id, e.pipeline_id, e.release_id, e.submitted_by, e.created_at
    FROM executions_execution e
    WHERE e.tenant_id = %(tenant)s AND e.created_at > now() - make_interval(days => %(days)s) AND NOT e.smoke
    ORDER BY e.created_at DESC, e.id DESC LIMIT %(scanned)s
), scan AS (
    SELECT CASE WHEN count(*) < %(scanned)s THEN now() - make_interval(days => %(days)s)
        ELSE min(created_at) END AS since
    FROM newest
)
"""

# Returns since when all submissions were read, how many the pipeline had, how many callers made them, how many came in
# the last hour, and the minutes of that hour that were read; and a sample of them. The sample has the newest executions
# of each caller, at most %(each)s, and at most %(most)s in total. It takes one of each caller before a second of any.
# Each row has the totals. A pipeline without submissions has one row, whose execution is null.
SUBMISSIONS = f"""{_RECENT}, own AS (
    SELECT n.*, row_number() OVER (PARTITION BY submitted_by ORDER BY created_at DESC, id DESC) AS place,
        count(*) OVER (PARTITION BY submitted_by) AS executions
    FROM newest n WHERE n.pipeline_id = %(pipeline)s
), totals AS (
    SELECT scan.since, t.*, extract(epoch FROM now() - greatest(scan.since, now() - interval '1 hour'))::float / 60
        AS minutes
    FROM scan, (
        SELECT count(*) AS submissions, count(*) FILTER (WHERE place = 1) AS callers,
            count(*) FILTER (WHERE created_at > now() - interval '1 hour') AS last_hour
        FROM own
    ) t
), sample AS (
    SELECT id, submitted_by, created_at, executions, place FROM own WHERE place <= %(each)s
    ORDER BY place, created_at DESC LIMIT %(most)s
)
SELECT t.since, t.submissions, t.callers, t.last_hour, t.minutes, s.id, s.submitted_by, s.created_at, s.executions
FROM totals t LEFT JOIN sample s ON true ORDER BY s.place, s.created_at DESC
"""  # noqa: S608  # nosec B608

# Returns stored inputs with their shapes, and whether they were submitted in typed payloads, which choose their shape.
# Inputs that take more than %(largest)s bytes in the table are missing.
INPUTS = """
SELECT e.id, e.input, e.input_shape, EXISTS (
    SELECT FROM executions_wireform w WHERE w.execution_id = e.id AND w.input IS NOT NULL)
FROM executions_execution e WHERE e.id = ANY(%(ids)s) AND pg_column_size(e.input) <= %(largest)s
"""

# Counts the running and the due executions of a pipeline, on all its releases, and the open ones of one release, by
# indexes that have only those.
LOAD = """
SELECT (SELECT count(*) FROM executions_execution e JOIN releases_release r ON r.id = e.release_id
        WHERE r.pipeline_id = %(pipeline)s AND e.status = 'RUNNING'),
    (SELECT count(*) FROM executions_execution e JOIN releases_release r ON r.id = e.release_id
        WHERE r.pipeline_id = %(pipeline)s AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held
            AND e.next_due_at <= now()),
    (SELECT count(*) FROM executions_execution e
        WHERE e.release_id = %(release)s AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED')
            AND NOT e.smoke)
"""

# Counts the open questions of the executions of a release. Timers are no questions.
QUESTIONS = """
SELECT count(*) FROM executions_interaction i JOIN executions_execution e ON e.id = i.execution_id
WHERE i.tenant_id = %(tenant)s AND i.status IN ('WAITING', 'DISPATCHING', 'DISPATCHED') AND i.transport <> 'timer'
    AND e.release_id = %(release)s
"""

# Returns the releases that need workers: the active ones, with the time of their activation, and those with open
# executions. If no worker may run such a release, the row has why not, when its last worker took work, the number of
# its open executions, and when the first of them was submitted.
NEEDED = f"""
SELECT r.id, a.activated_at, coalesce(host.is_missing, false), coalesce(host.reasons, '{{}}'), host.until,
    open.executions, open.oldest
FROM releases_pipeline p
JOIN releases_release r ON r.pipeline_id = p.id
LEFT JOIN releases_activation a ON a.id = p.activation_id AND a.release_id = r.id
LEFT JOIN LATERAL (
    SELECT true AS is_missing, {WITHOUT_WORK} HAVING NOT EXISTS (SELECT FROM executions_workereligibility h
        WHERE h.release_id = r.id AND h.present AND h.reason IS NULL)
) host ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS executions, min(e.created_at) AS oldest FROM executions_execution e
    WHERE host.is_missing AND e.release_id = r.id AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED')
) open ON true
WHERE p.tenant_id = %(tenant)s AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
    AND (a.release_id IS NOT NULL OR EXISTS (SELECT FROM executions_execution e
        WHERE e.release_id = r.id AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED')))
ORDER BY p.pipeline_id, r.id
"""  # noqa: S608  # nosec B608

# Finds the recent executions that were submitted after an activation and are pinned to another release, which is no
# candidate. A submission
# that was under way during the activation is not one of them: see SETTLED_SECONDS. Returns a row for each pipeline that
# has any: how many, how many of them are resubmissions, the first and the last of them, their callers and their
# releases. No row: every execution is on the release that was active.
SKEWED = f"""{_RECENT}
SELECT p.pipeline_id, active.release_version, count(*),
    count(*) FILTER (WHERE EXISTS (SELECT FROM executions_resubmission s WHERE s.new_execution_id = n.id)),
    min(n.created_at), max(n.created_at), array_agg(DISTINCT n.submitted_by), array_agg(DISTINCT r.release_version)
FROM newest n
JOIN releases_release r ON r.id = n.release_id
JOIN releases_pipeline p ON p.id = r.pipeline_id AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
JOIN releases_activation a ON a.id = p.activation_id
JOIN releases_release active ON active.id = a.release_id
WHERE n.release_id <> a.release_id AND n.release_id IS DISTINCT FROM a.candidate_id
    AND n.created_at > a.activated_at + make_interval(secs => %(settled)s)
GROUP BY p.pipeline_id, active.release_version ORDER BY p.pipeline_id
"""  # noqa: S608  # nosec B608

# Returns when each worker last reported something new, by cause.
REPORTED = """
SELECT v.worker_id, v.data ->> 'cause', max(v.at) FROM executions_workerevent v
WHERE v.worker_id = ANY(%(workers)s)
    AND v.data ->> 'cause' IN ('REGISTERED', 'RELEASE_CHANGED', 'CODE_CHANGED', 'ENVIRONMENT_DRIFT')
GROUP BY 1, 2
"""

# Counts the executions of a release by state and error, with how many rows were read to find those of the state. Reads
# at most %(most)s rows of each of three indexes: the live executions of the release, and the newest failures and other
# ended executions of the tenant.
RELEASE_COUNTS = """
WITH live AS (
    SELECT status FROM executions_execution
    WHERE release_id = %(release)s AND status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED') LIMIT %(most)s
), failed AS (
    SELECT release_id, status, error_code FROM executions_execution
    WHERE tenant_id = %(tenant)s AND status IN ('DLQ', 'FAILED') ORDER BY finished_at DESC, id DESC LIMIT %(most)s
), over AS (
    SELECT release_id, status FROM executions_execution
    WHERE tenant_id = %(tenant)s AND status IN ('SUCCEEDED', 'CANCELLED') ORDER BY finished_at DESC LIMIT %(most)s
)
SELECT status, NULL, count(*), (SELECT count(*) FROM live) FROM live GROUP BY status
UNION ALL SELECT status, error_code, count(*), (SELECT count(*) FROM failed)
    FROM failed WHERE release_id = %(release)s GROUP BY status, error_code
UNION ALL SELECT status, NULL, count(*), (SELECT count(*) FROM over)
    FROM over WHERE release_id = %(release)s GROUP BY status
"""

# Returns the releases of a tenant that need workers or have live ones: whether it is active, the candidate of a gradual
# activation, open to callers that name it although it was replaced; whether it has work and whether executions of it
# wait for answers; its due and running executions, the age of the oldest due one, and its live workers with their
# capacity. At most %(counted)s executions of a release are read for each of these, by indexes that have only those.
# An execution that is held is open work, but is not due.
WORKER_PLAN = """
WITH live AS (
    SELECT v.release_id, count(*) AS workers, sum(v.capacity)::bigint AS capacity
    FROM executions_workereligibility v
    WHERE v.tenant_id = %(tenant)s AND v.release_id IS NOT NULL AND v.present AND v.reason IS NULL
    GROUP BY v.release_id
), named AS (
    SELECT r.id, p.pipeline_id, r.contract_version, r.release_version,
        coalesce(a.release_id = r.id, false) AS active, coalesce(a.candidate_id = r.id, false) AS candidate,
        CASE WHEN p.skew_grace_minutes > 0 AND r.id <> a.release_id AND r.id IS DISTINCT FROM a.candidate_id
            THEN coalesce(release_open_until(r.id) > now(), false) ELSE false END AS pinned
    FROM releases_pipeline p
    JOIN releases_release r ON r.pipeline_id = p.id AND r.status IN ('REGISTERED', 'REVOKED', 'RETIRED')
    LEFT JOIN releases_activation a ON a.id = p.activation_id
    WHERE p.tenant_id = %(tenant)s
)
SELECT n.id, n.pipeline_id, n.contract_version, n.release_version, n.active, n.candidate, n.pinned,
    coalesce(open.works, false) OR due.executions > 0 OR running.executions > 0, coalesce(open.waits, false),
    due.executions, running.executions, coalesce(extract(epoch FROM now() - due.oldest), 0)::float,
    coalesce(live.workers, 0), coalesce(live.capacity, 0)
FROM named n
LEFT JOIN live ON live.release_id = n.id
CROSS JOIN LATERAL (
    SELECT bool_or(e.status <> 'WAITING_EXTERNAL') AS works, bool_or(e.status = 'WAITING_EXTERNAL') AS waits
    FROM (SELECT x.status FROM executions_execution x WHERE x.release_id = n.id
        AND x.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED') LIMIT %(counted)s) e
) open
CROSS JOIN LATERAL (
    SELECT count(*) AS executions, min(e.next_due_at) AS oldest
    FROM (SELECT x.next_due_at FROM executions_execution x WHERE x.release_id = n.id
        AND x.status IN ('QUEUED', 'WAIT_RETRY') AND NOT x.held AND x.next_due_at <= now()
        ORDER BY x.next_due_at LIMIT %(counted)s) e
) due
CROSS JOIN LATERAL (
    SELECT count(*) AS executions FROM (SELECT FROM executions_execution x WHERE x.release_id = n.id
        AND x.status = 'RUNNING' LIMIT %(counted)s) e
) running
WHERE n.active OR n.candidate OR n.pinned OR open.works OR open.waits OR live.workers > 0
ORDER BY n.pipeline_id, n.id
"""
