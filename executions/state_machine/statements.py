"""The SQL statements of the state machine: what each does, and what it means if it affects or returns no row.

Executions are locked in the order of their ids, so that two groups never deadlock. They are found by their ids alone: a
condition that another index could serve is written so that none can, because a plan that was made for an empty table
would read all executions of a tenant or a pipeline. The parameters of `CLAIM` are those of `moves.claim`.
"""

from string import Template
from typing import Final

# Applies moves, each with its event. Returns the places of the moves that took place, negative ones for ends that
# something follows: a channel is notified, or an execution with the same concurrency key may start. If relatives must
# be notified, the place is less than -FAMILY. No row: another process moved all of the executions first, or a move does
# not match its row.
#
# The moves come as one JSON document, which is the fastest way to pass many rows of many columns. A value that may be
# JSON's null is passed in an array of one. A move from RUNNING to QUEUED gives back a claim that no worker has begun.
# That is no progress, so the count of lost leases stays.
_APPLY = Template("""
WITH requested AS (
    SELECT * FROM ROWS FROM (json_to_recordset(%(moves)s::json) AS (
        id uuid, source text, version bigint, token uuid, unit uuid, target text, kind text, actor text, data jsonb,
        step int, attempt int, budget int, key text, delay float, progress jsonb, shape text, new_unit uuid,
        result jsonb, code text, message text${types})) WITH ORDINALITY
        AS a(id, source, version, token, unit, target, kind, actor, data, step, attempt, budget, key, delay, progress,
             shape, new_unit, result, code, message${names}, place)
), locked AS (
    SELECT e.id, a.place FROM executions_execution e JOIN requested a ON a.id = e.id
    WHERE e.status = a.source AND (a.version IS NULL OR e.version = a.version)
        AND (a.token IS NULL OR e.lease_token = a.token) AND (a.unit IS NULL OR e.await_unit_id = a.unit)${guard}
    ORDER BY e.id FOR UPDATE OF e
), moved AS (
    UPDATE executions_execution e SET
        status = a.target, version = e.version + 1, event_count = e.event_count + 1,
        takeovers = CASE WHEN a.source = 'RUNNING' AND a.target = 'QUEUED' THEN e.takeovers ELSE 0 END,
        current_step_index = coalesce(a.step, e.current_step_index), attempt = coalesce(a.attempt, e.attempt),
        budget_start = coalesce(a.budget, e.budget_start),
        next_due_at = CASE WHEN e.priority IS NOT NULL AND a.target = 'QUEUED' AND a.delay = 0
            THEN queue_time(e.release_id, e.priority) ELSE now() + make_interval(secs => a.delay) END,
        lease_owner = NULL, lease_protocol = NULL, lease_worker = NULL, lease_token = NULL, lease_expires_at = NULL,
        running_since = NULL, last_transition_key = coalesce(a.key, e.last_transition_key),
        progress = CASE WHEN a.shape IS NULL THEN e.progress ELSE a.progress -> 0 END,
        progress_shape = coalesce(a.shape, e.progress_shape), await_unit_id = a.new_unit, result = a.result,
        error_code = a.code, error_message = a.message, updated_at = now(),
        finished_at = CASE WHEN a.target = ANY(%(terminal)s) THEN now() END
    FROM locked l JOIN requested a ON a.place = l.place WHERE e.id = l.id
    RETURNING e.id, a.place * CASE WHEN e.finished_at IS NOT NULL AND (e.notify IS NOT NULL
        OR e.concurrency_key IS NOT NULL OR e.notify_by_policy
        AND policy_channel(e.tenant_id, e.pipeline_id, e.status) IS NOT NULL) THEN -1 ELSE 1 END AS place,
        e.family_due_at, e.event_count, e.status, a.kind, a.actor, a.data
), events AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
    SELECT id, event_count, kind, status, actor, data || %(shared)s::jsonb FROM moved
)
SELECT CASE WHEN family_due_at IS NULL THEN place ELSE -abs(place) - 1000000000 END FROM moved
""")
APPLY = _APPLY.substitute(types="", names="", guard="")
# The same for re-drives. The guard is also that `replaced` carries on the work of the execution, or none if it is null.
# Without the lock of `executions.lifecycle.replacements`, another session may run the work again at this moment.
APPLY_AGAIN = _APPLY.substitute(
    types=", replaced uuid", names=", replaced", guard=" AND replacement_of(e.id) IS NOT DISTINCT FROM a.replaced"
)
FAMILY: Final = 1_000_000_000

# Ends leases that have expired, each with its event, and skips locked executions. No row: no lease has expired, or
# other processes end those that have. If a worker held the lease, the event names it and its registered artifact. The
# call of a REST worker is left to `executions.lifecycle.rest_calls`.
#
# A lease counts as taken over unless its worker certainly lived: it had not registered since the claim, and sent a
# heartbeat in the second half of the lease, which would have renewed a lease that it still held. If no heartbeat named
# the worker, all workers of the release that were alive at the claim must have lived: that claim is young, so they are
# few. The lease of a call that has not begun always counts. If the history of the last `most` losses and this one
# contains nothing but claims and losses, the execution ends in DLQ too, because its outcomes do not arrive at all.
EXPIRE = """
WITH expired AS (
    SELECT id, tenant_id, pipeline_id, contract_version, release_version, lease_owner, lease_protocol, lease_worker,
        lease_expires_at, updated_at, takeovers, event_count
    FROM executions_execution WHERE status = 'RUNNING' AND lease_expires_at <= now()
        AND NOT (lease_protocol = 'rest' AND running_since IS NOT NULL)
    ORDER BY lease_expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), unnamed AS (
    SELECT tenant_id, pipeline_id, updated_at FROM expired WHERE lease_worker IS NULL
), host AS MATERIALIZED (
    SELECT w.tenant_id, w.pipeline_id, w.contract_version, w.release_version, w.registered_at, w.last_heartbeat_at,
        w.stopped_at, least(w.stopped_at, w.alive_until) AS until
    FROM executions_worker w WHERE w.protocol = 'celery'
        AND (w.tenant_id, w.pipeline_id) IN (SELECT tenant_id, pipeline_id FROM unnamed)
        AND (w.stopped_at IS NULL OR w.stopped_at >= (SELECT min(updated_at) FROM unnamed))
        AND coalesce(w.alive_until >= (SELECT min(updated_at) FROM unnamed), true)
), judged AS (
    SELECT x.*, x.lease_protocol <> 'celery' OR (
        SELECT bool_and(w.stopped_at IS NULL AND w.registered_at <= x.updated_at
            AND w.last_heartbeat_at > x.lease_expires_at - make_interval(secs => %(lease)s::float8 / 2))
        FROM (
            SELECT n.stopped_at, n.registered_at, n.last_heartbeat_at FROM executions_worker n
            WHERE n.tenant_id = x.tenant_id AND n.pipeline_id = x.pipeline_id AND n.worker_id = x.lease_worker
                AND n.protocol = 'celery'
            UNION ALL
            SELECT h.stopped_at, h.registered_at, h.last_heartbeat_at FROM host h
            WHERE x.lease_worker IS NULL AND h.tenant_id = x.tenant_id AND h.pipeline_id = x.pipeline_id
                AND h.contract_version = x.contract_version AND h.release_version = x.release_version
                AND coalesce(h.until >= x.updated_at, true)
        ) w) IS NOT TRUE AS taken_over
    FROM expired x
), decided AS (
    SELECT j.*, CASE WHEN taken_over AND takeovers >= %(most)s THEN %(message)s
        WHEN NOT EXISTS (SELECT FROM executions_executionevent v WHERE v.execution_id = j.id
            AND v.sequence >= j.event_count - 2 * %(most)s AND v.kind NOT IN ('CLAIMED', 'LEASE_EXPIRED'))
            THEN %(unheard)s END AS error
    FROM judged j
), moved AS (
    UPDATE executions_execution e SET
        status = CASE WHEN d.error IS NULL THEN 'QUEUED' ELSE 'DLQ' END, version = e.version + 1,
        event_count = e.event_count + 1, takeovers = e.takeovers + d.taken_over::int, next_due_at = now(),
        lease_owner = NULL, lease_protocol = NULL, lease_worker = NULL, lease_token = NULL, lease_expires_at = NULL,
        lost_lease = CASE WHEN d.error IS NULL THEN e.lease_token END, running_since = NULL, updated_at = now(),
        finished_at = CASE WHEN d.error IS NOT NULL THEN now() END,
        error_code = CASE WHEN d.error IS NULL THEN e.error_code ELSE 'LEASES_LOST' END,
        error_message = coalesce(d.error, e.error_message)
    FROM decided d WHERE e.id = d.id
    RETURNING e.id, e.event_count, e.status, d.lease_owner, e.takeovers, e.tenant_id, e.pipeline_id,
        e.release_version, d.lease_worker, d.taken_over
), events AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
    SELECT id, event_count, CASE status WHEN 'DLQ' THEN 'LEASES_LOST' ELSE 'LEASE_EXPIRED' END, status, %(actor)s,
        jsonb_build_object('leaseOwner', lease_owner, 'takeovers', takeovers) || jsonb_strip_nulls(jsonb_build_object(
            'workerLived', CASE WHEN NOT taken_over THEN true END,
            'worker', lease_worker, 'registeredArtifactDigest', (SELECT w.artifact_digest FROM executions_worker w
                WHERE w.tenant_id = moved.tenant_id AND w.pipeline_id = moved.pipeline_id
                    AND w.worker_id = moved.lease_worker)))
    FROM moved
)
SELECT m.id, m.status, t.slug, m.pipeline_id, m.release_version
FROM moved m JOIN tenancy_tenant t ON t.id = m.tenant_id
"""

# Renews leases and names their worker. Returns the tokens of the renewed leases. No row: all of these leases are lost.
#
# Only RUNNING executions have a lease token. A worker with a copy of another worker's command cannot renew the lease.
# The lease of a call is not renewed: no Celery worker holds it.
RENEW = """
WITH locked AS (
    SELECT e.id, held.seconds FROM executions_execution e
    JOIN unnest(%(ids)s::uuid[], %(tokens)s::uuid[], %(seconds)s::float[]) AS held(id, token, seconds)
        ON held.id = e.id
    WHERE e.lease_token = held.token AND e.tenant_id IS NOT DISTINCT FROM %(tenant)s
        AND e.lease_protocol = 'celery' AND (e.lease_worker IS NULL OR e.lease_worker = %(worker)s)
    ORDER BY e.id FOR UPDATE OF e
)
UPDATE executions_execution e SET lease_expires_at = now() + make_interval(secs => %(lease)s), lease_owner = %(owner)s,
    lease_worker = %(worker)s, running_since = coalesce(e.running_since, now() - make_interval(secs => locked.seconds))
FROM locked WHERE e.id = locked.id
RETURNING e.lease_token
"""

# Gives lost leases back to outcomes that come late, each with its event. Returns the executions and their versions. No
# row: another outcome was recorded, or the worker has been informed that its lease is lost.
#
# If another worker has claimed the execution, that lease ends, and the event names its owner. A late failure does not
# end it: that claim is the retry.
RESTORE = """
WITH requested AS (
    SELECT a.*, e.lease_owner, e.lease_worker FROM executions_execution e
    JOIN unnest(%(ids)s::uuid[], %(tokens)s::uuid[], %(failed)s::bool[]) AS a(id, token, failed) ON a.id = e.id
), restored AS (
    UPDATE executions_execution e SET status = 'RUNNING', version = e.version + (e.status = 'QUEUED')::int,
        event_count = e.event_count + 1, lease_owner = %(owner)s, lease_protocol = 'celery', lease_worker = %(worker)s,
        lease_token = a.token, lost_lease = NULL, lease_expires_at = now(), running_since = NULL, updated_at = now()
    FROM requested a
    WHERE e.id = a.id AND e.lost_lease = a.token AND (e.status = 'QUEUED' OR e.status = 'RUNNING' AND NOT a.failed)
    RETURNING e.id, e.event_count, e.status, e.version, a.lease_owner, a.lease_worker
), events AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
    SELECT id, event_count, 'LEASE_RESTORED', status, %(owner)s,
        jsonb_strip_nulls(jsonb_build_object('leaseOwner', lease_owner, 'worker', lease_worker)) FROM restored
)
SELECT id, version FROM restored
"""

# Forgets lost leases whose worker is informed of the loss: its transition may then stop early with any outcome. No row:
# none of them could have come back.
FORGET_LOST = """
WITH locked AS (
    SELECT id FROM executions_execution WHERE id = ANY(%(ids)s) AND lost_lease = ANY(%(tokens)s) ORDER BY id FOR UPDATE
)
UPDATE executions_execution e SET lost_lease = NULL FROM locked WHERE e.id = locked.id
"""

# Writes events that change nothing else, in their order. No row: the executions were removed.
NOTE = """
WITH requested AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(actors)s::text[], %(data)s::jsonb[]) WITH ORDINALITY
        AS a(id, actor, data, place)
), locked AS (
    SELECT e.id FROM executions_execution e
    WHERE e.id = ANY(%(ids)s) ORDER BY e.id FOR UPDATE
), counted AS (
    UPDATE executions_execution e SET event_count = e.event_count + (SELECT count(*) FROM requested a WHERE a.id = e.id)
    FROM locked l WHERE e.id = l.id
    RETURNING e.id, e.event_count, e.status
)
INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
SELECT c.id, c.event_count + 1 - row_number() OVER (PARTITION BY c.id ORDER BY a.place DESC), %(kind)s, c.status,
    a.actor, a.data
FROM counted c JOIN requested a ON a.id = c.id
"""

# Writes a dead letter for each execution that is FAILED or DLQ, from its row. Returns what the log line needs. No row:
# none of the executions failed, or each has a dead letter for this failure.
WRITE_DEAD_LETTERS = """
WITH written AS (
    INSERT INTO executions_deadletter (tenant_id, execution_id, execution_version, transition_key, terminal_status,
        reason, error_code, error_message, retryable, retries_observed, step_index)
    SELECT e.tenant_id, e.id, e.version, concat(e.id, ':', e.current_step_index, ':', e.attempt), e.status,
        f.reason, e.error_code, e.error_message, f.reason = ANY(%(retryable)s), e.attempt, e.current_step_index
    FROM executions_execution e
    JOIN unnest(%(ids)s::uuid[], %(reasons)s::text[]) AS f(id, reason) ON f.id = e.id
    WHERE e.id = ANY(%(ids)s) AND e.status IN ('FAILED', 'DLQ') ORDER BY e.tenant_id, e.id
    ON CONFLICT (execution_id, execution_version) DO NOTHING
    RETURNING *
)
SELECT w.reason, w.retryable, t.slug, w.execution_id, w.transition_key, w.terminal_status, w.error_code,
    w.retries_observed, coalesce(c.document ->> 'transport', ''), coalesce(c.document ->> 'platform', ''),
    e.traceparent, e.pipeline_id, e.release_version
FROM written w
JOIN tenancy_tenant t ON t.id = w.tenant_id
JOIN executions_execution e ON e.id = w.execution_id
JOIN releases_release r ON r.id = e.release_id
LEFT JOIN releases_contract c ON c.id = r.contract_id
"""


# The parts of the statement that claims due executions. `ROOM` and `FAIR_SHARE` are also tested alone. Paused
# executions are not in the index of due ones.

# The releases with due work (`waiting`). They are found one after the other in the index of due executions, because it
# is almost empty if nothing is due, and may have many executions of a release. If there are more than a few (`found`),
# most of them may have no worker. Then those of the present workers are looked up instead, so that nothing more is read
# of stranded releases.
DUE: Final = """found AS MATERIALIZED (
    SELECT release_id, next_due_at FROM (
        WITH RECURSIVE next AS (
            (SELECT e.release_id, e.next_due_at FROM executions_execution e
                WHERE e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held
                ORDER BY e.release_id, e.next_due_at LIMIT 1)
            UNION ALL
            SELECT later.* FROM next CROSS JOIN LATERAL (
                SELECT e.release_id, e.next_due_at FROM executions_execution e
                WHERE e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held AND e.release_id > next.release_id
                ORDER BY e.release_id, e.next_due_at LIMIT 1) later
        ) SELECT * FROM next) n
    LIMIT 17
), waiting AS MATERIALIZED (
    SELECT release_id FROM found WHERE (SELECT count(*) FROM found) < 17 AND next_due_at <= now()
    UNION ALL
    SELECT release_id FROM hosted_due_releases() AS h(release_id) WHERE (SELECT count(*) FROM found) = 17
)"""

# The present workers of these releases (`host`), and what the eligible ones of each release can do together (`hosted`).
# While outcomes are late, no Celery worker is one of them, because its outcomes could not be recorded (ADR 73). The
# offset has the workers of one release read at a time, by the index of those that have not stopped.
HOSTS: Final = """host AS MATERIALIZED (
    SELECT v.* FROM waiting CROSS JOIN LATERAL (
        SELECT release_id, tenant_id, protocol, capacity, transition_seconds, lease_owner, worker_name,
            reason IS NULL AS runs
        FROM executions_workereligibility WHERE release_id = waiting.release_id AND present AND (protocol = 'rest'
            OR NOT EXISTS (SELECT FROM executions_outcomepath WHERE expected_by < now()))
        OFFSET 0) v
), hosted AS (
    SELECT release_id, tenant_id, sum(capacity) FILTER (WHERE runs) AS threads,
        bool_or(protocol = 'rest') FILTER (WHERE runs) AS calls,
        max(transition_seconds) FILTER (WHERE runs) AS seconds,
        array_agg(lease_owner) FILTER (WHERE NOT runs) AS idle,
        array_agg(lease_owner) FILTER (WHERE runs AND protocol = 'rest') AS rest_owners
    FROM host GROUP BY release_id, tenant_id HAVING bool_or(runs)
)"""

# The RUNNING executions of the hosted releases by lease owner (`counted`). One claim at a time counts those of a
# release: `held` is null if another claim does, and JSON null if the release is paused.
COUNTED: Final = """counted AS MATERIALIZED (
    SELECT *, count_running_for_claim(release_id, rest_owners) AS held FROM hosted
)"""

# The room of each release (`place`), and how much of it is free (`ready`). The room is what its workers do in `span`
# seconds, at least one execution for each thread and at most `most`, so that a slow pipeline is sent only what starts
# at once. A release with a REST worker keeps no stock, because each call is one command. RUNNING executions take
# places, except those of workers that get no more work. A stock is filled up by a quarter or more at a time.
ROOM: Final = """place AS MATERIALIZED (
    SELECT *, threads * CASE WHEN calls OR seconds IS NULL THEN 1
            ELSE least(greatest(%(span)s / greatest(seconds, 0.00001), 1), %(most)s)::bigint END AS room,
        (SELECT coalesce(sum(x.value::bigint), 0) FROM jsonb_each_text(held) x
            WHERE idle IS NULL OR x.key <> ALL (idle)) AS running
    FROM counted WHERE held <> 'null'
), ready AS (
    SELECT *, room - running AS free, count(*) OVER (PARTITION BY tenant_id) AS releases
    FROM place WHERE running < room AND (running < threads OR (room - running) * 4 >= room)
)"""

# The share of each release in `limit` (`fair`). Tenants with due work share it evenly, and the releases of a tenant
# divide its share, so that none waits for another's backlog. If that is less than one for each, the tenants of few
# releases come first, and the releases of one tenant in random order. `allowed` is what the quota of RUNNING executions
# leaves to each tenant; without a quota they are not counted.
FAIR_SHARE: Final = """allowed AS MATERIALIZED (
    SELECT tenant_id, CASE WHEN %(quota)s = 0 THEN %(limit)s ELSE greatest(0, %(quota)s - (
        SELECT sum((SELECT count(*) FROM executions_execution x WHERE x.release_id = r.id AND x.status = 'RUNNING'))
        FROM releases_pipeline p JOIN releases_release r ON r.pipeline_id = p.id
        WHERE p.tenant_id = ready.tenant_id)) END AS allowed
    FROM ready GROUP BY tenant_id
), fair AS (
    SELECT release_id, tenant_id, threads, seconds, calls,
        least(free, greatest(%(limit)s / (SELECT count(DISTINCT tenant_id) FROM ready) / releases, 1)) AS share,
        (SELECT a.allowed FROM allowed a WHERE a.tenant_id = ready.tenant_id) AS allowed
    FROM ready ORDER BY releases, random()
)"""

# The due executions that are locked (`locked`), less what exceeds the quota (`within_quota`) or the bytes (`due`).
TAKEN: Final = """locked AS (
    SELECT chosen.*, fair.release_id, fair.tenant_id, fair.threads, fair.seconds, fair.calls, fair.allowed
    FROM fair CROSS JOIN LATERAL (
        SELECT e.id, e.version, e.next_due_at, pg_column_size(coalesce(e.progress, e.input)) AS size
        FROM executions_execution e
        WHERE e.release_id = fair.release_id AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held
            AND e.next_due_at <= now() AND (e.expires_at IS NULL OR e.version > 0 OR e.expires_at > now())
        ORDER BY e.next_due_at LIMIT least(fair.share, fair.allowed)
        FOR UPDATE SKIP LOCKED
    ) chosen
    LIMIT %(limit)s
), within_quota AS (
    SELECT *, sum(size) OVER (ORDER BY next_due_at, id) - size AS bytes_before FROM (
        SELECT locked.*, row_number() OVER (PARTITION BY tenant_id ORDER BY next_due_at) AS place FROM locked) l
    WHERE place <= allowed
), due AS (
    SELECT id, version, release_id, threads, seconds, calls FROM within_quota WHERE bytes_before < %(bytes)s
)"""

# The free places of REST workers (`called`) and of Celery workers (`slot`), assigned at random (`placed`). An execution
# for a REST worker is leased in its name.
PLACES: Final = """called AS (
    SELECT r.release_id, h.lease_owner, h.worker_name,
        greatest(h.capacity - coalesce((r.held ->> h.lease_owner)::int, 0), 0) AS free
    FROM ready r JOIN host h ON h.release_id = r.release_id WHERE r.calls AND h.runs AND h.protocol = 'rest'
), slot AS (
    SELECT release_id, protocol, lease_owner, worker_name,
        row_number() OVER (PARTITION BY release_id ORDER BY random()) AS number
    FROM (
        SELECT release_id, 'rest' AS protocol, lease_owner, worker_name, free FROM called
        UNION ALL
        SELECT r.release_id, 'celery', NULL, NULL,
            r.free - (SELECT sum(c.free) FROM called c WHERE c.release_id = r.release_id)
        FROM ready r WHERE r.calls
    ) each CROSS JOIN LATERAL generate_series(1, least(each.free, %(limit)s))
), placed AS MATERIALIZED (
    SELECT d.id, d.version, d.threads, d.seconds, d.calls, coalesce(s.protocol, 'celery') AS protocol, s.lease_owner,
        s.worker_name
    FROM (SELECT *, row_number() OVER (PARTITION BY release_id) AS number FROM due) d
    LEFT JOIN slot s ON d.calls AND s.release_id = d.release_id AND s.number = d.number
)"""

# The guarded UPDATE, with its events.
CLAIMED: Final = """claimed AS (
    UPDATE executions_execution e SET
        status = 'RUNNING', version = e.version + 1, event_count = e.event_count + 1,
        lease_owner = coalesce(p.lease_owner, %(owner)s), lease_protocol = p.protocol, lease_worker = p.worker_name,
        lease_token = gen_random_uuid(), updated_at = now(), lease_expires_at = now() + make_interval(secs =>
            CASE p.protocol WHEN 'rest' THEN greatest(%(lease)s::float, %(call)s::float) ELSE %(lease)s::float END)
    FROM placed p WHERE e.id = ANY (ARRAY(SELECT id FROM placed)) AND e.id = p.id AND e.version = p.version
    RETURNING e.id, e.tenant_id, e.pipeline_id, e.contract_version, e.release_version, e.status, e.version,
        e.event_count, e.lease_token, e.lease_protocol, e.current_step_index, e.attempt, e.result_shape, e.checkpoints,
        e.takeovers, e.traceparent, e.next_due_at, coalesce(e.progress, e.input) AS input,
        coalesce(e.progress_shape, e.input_shape) AS shape, p.threads, p.seconds, p.calls, e.reported
), events AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
    SELECT id, event_count, 'CLAIMED', status, %(owner)s,
        jsonb_build_object('attempt', attempt, 'stepIndex', current_step_index) FROM claimed
)"""

# Always returns at least one row, whose first column says whether due work is left, to a claim that has locked its
# release or for its bytes. The other columns are null: nothing claimable is due. The trace context of a traced
# execution is followed by that of the run whose await it resumes from. The last columns are what a step left for the
# next attempt, and the finished items. Both are read only if the execution was claimed before.
CLAIM: Final = f"""
WITH {DUE}, {HOSTS}, {COUNTED}, {ROOM}, {FAIR_SHARE}, {TAKEN}, {PLACES}, {CLAIMED}
SELECT busy.busy, c.id, t.slug, c.pipeline_id, c.contract_version, c.release_version, c.version, c.lease_token,
    c.current_step_index, c.attempt, c.input::text, c.shape, c.result_shape, c.checkpoints, c.takeovers,
    c.lease_protocol, c.threads, c.seconds, c.calls,
    CASE WHEN c.traceparent IS NOT NULL THEN concat_ws(' ', c.traceparent, (
        SELECT u.traceparent FROM executions_awaitunit u WHERE u.execution_id = c.id AND u.status = 'COMPLETED'
            AND u.step_index = c.current_step_index - 1 ORDER BY u.created_at DESC LIMIT 1)) END,
    extract(epoch FROM now() - c.next_due_at)::float8,
    CASE WHEN c.reported THEN (
        SELECT r.details::text FROM executions_stepreport r WHERE r.execution_id = c.id AND r.details IS NOT NULL
            ORDER BY r.reported_at DESC LIMIT 1) END,
    CASE WHEN c.checkpoints AND c.version > 1 THEN (SELECT jsonb_agg(jsonb_build_array(g.items, g.outputs))::text
        FROM item_groups(c.id, c.current_step_index) g) END
FROM (SELECT EXISTS (SELECT FROM counted WHERE held IS NULL)
    OR EXISTS (SELECT FROM within_quota WHERE bytes_before >= %(bytes)s) AS busy) busy
LEFT JOIN (claimed c JOIN tenancy_tenant t ON t.id = c.tenant_id) ON true
ORDER BY c.next_due_at, c.id
"""  # noqa: S608  # nosec B608
