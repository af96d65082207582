"""The statement that claims due executions, each with its event. `ROOM` and `FAIR_SHARE` are also tested alone.

Paused executions are not in the index of due ones. The parameters are those of `executions.state_machine.moves.claim`.
"""

from typing import Final

# The present workers (`host`), and what the eligible ones of each release can do together (`hosted`). While outcomes
# are late, no Celery worker is one of them, because its outcomes could not be recorded (ADR 73).
HOSTS: Final = """host AS MATERIALIZED (
    SELECT release_id, tenant_id, protocol, capacity, transition_seconds, lease_owner, worker_name,
        reason IS NULL AS runs
    FROM executions_workereligibility WHERE present AND release_id IS NOT NULL AND (protocol = 'rest'
        OR NOT EXISTS (SELECT FROM executions_outcomepath WHERE expected_by < now()))
), hosted AS (
    SELECT release_id, tenant_id, sum(capacity) FILTER (WHERE runs) AS threads,
        bool_or(protocol = 'rest') FILTER (WHERE runs) AS calls,
        max(transition_seconds) FILTER (WHERE runs) AS seconds,
        array_agg(lease_owner) FILTER (WHERE NOT runs) AS idle,
        array_agg(lease_owner) FILTER (WHERE runs AND protocol = 'rest') AS rest_owners
    FROM host GROUP BY release_id, tenant_id HAVING bool_or(runs)
)"""

# The hosted releases with due work (`wanted`), and their RUNNING executions by lease owner (`counted`). One claim at a
# time counts those of a release: `held` is null if another claim does, and JSON null if the release is paused.
DEMAND: Final = """wanted AS MATERIALIZED (
    SELECT release_id, tenant_id, threads, calls, idle, rest_owners, seconds
    FROM hosted h
    WHERE (SELECT true FROM executions_execution e WHERE e.release_id = h.release_id
        AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held AND e.next_due_at <= now() LIMIT 1)
), counted AS MATERIALIZED (
    SELECT *, count_running_for_claim(release_id, rest_owners) AS held FROM wanted
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
            AND e.next_due_at <= now()
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
    RETURNING e.*, p.threads, p.seconds, p.calls
), events AS (
    INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data)
    SELECT id, event_count, 'CLAIMED', status, %(owner)s,
        jsonb_build_object('attempt', attempt, 'stepIndex', current_step_index) FROM claimed
)"""

# Always returns at least one row, whose first column says whether due work is left, to a claim that has locked its
# release or for its bytes. The other columns are null: nothing claimable is due. The trace context of a traced
# execution is followed by that of the run whose await it resumes from.
CLAIM: Final = f"""
WITH {HOSTS}, {DEMAND}, {ROOM}, {FAIR_SHARE}, {TAKEN}, {PLACES}, {CLAIMED}
SELECT busy.busy, c.id, t.slug, c.pipeline_id, c.contract_version, c.release_version, c.version, c.lease_token,
    c.current_step_index, c.attempt, coalesce(c.progress, c.input)::text, coalesce(c.progress_shape, c.input_shape),
    c.result_shape, c.checkpoints, c.takeovers, c.lease_protocol, c.threads, c.seconds, c.calls,
    CASE WHEN c.traceparent IS NOT NULL THEN concat_ws(' ', c.traceparent, (
        SELECT u.traceparent FROM executions_awaitunit u WHERE u.execution_id = c.id AND u.status = 'COMPLETED'
            AND u.step_index = c.current_step_index - 1 ORDER BY u.created_at DESC LIMIT 1)) END,
    extract(epoch FROM now() - c.next_due_at)::float8
FROM (SELECT EXISTS (SELECT FROM counted WHERE held IS NULL)
    OR EXISTS (SELECT FROM within_quota WHERE bytes_before >= %(bytes)s) AS busy) busy
LEFT JOIN (claimed c JOIN tenancy_tenant t ON t.id = c.tenant_id) ON true
ORDER BY c.next_due_at, c.id
"""  # noqa: S608  # nosec B608
