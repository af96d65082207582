"""The SQL statements of schedules. Each says what zero rows mean where that is not obvious."""

from typing import Final

FIRE_TASK: Final = "executions.fire_schedules"
"""The task that fires what `IS_DUE` finds."""

# Whether there is anything to do. It reads two partial indexes, which are empty without schedules.
IS_DUE: Final = """
SELECT EXISTS (SELECT FROM executions_schedule WHERE next_at <= now())
    OR EXISTS (SELECT FROM executions_schedulefire WHERE state = 'DUE' AND next_attempt_at <= now())
"""

# The due schedules that follow a place in the order, with the present time. Those that are far behind come last, so
# that they delay no others. A schedule that was moved or cannot fire does not follow its place, so a caller that
# continues there reaches each schedule once.
DUE_SCHEDULES: Final = """
SELECT id, next_at, now() FROM executions_schedule
WHERE next_at <= now() AND (next_at, id) < (%(next_at)s, %(id)s) ORDER BY next_at DESC, id DESC LIMIT %(limit)s
"""

_UNFINISHED: Final = """
    SELECT e.id FROM (SELECT execution_id, scheduled_at FROM executions_schedulefire
        WHERE schedule_id = {schedule} AND state = 'SUBMITTED' ORDER BY decided_at DESC LIMIT 20) newest
    JOIN executions_execution e ON e.id = newest.execution_id AND e.finished_at IS NULL
"""

# The executions of earlier times among the newest ones of a schedule that have not ended. Another process may have
# submitted the time itself meanwhile.
EARLIER: Final = _UNFINISHED.format(schedule="%(schedule)s") + " WHERE newest.scheduled_at < %(before)s"

# Moves a schedule to its following time, and adds fires for the times before it. No row moves if another process moved
# it first, or if a person changed it. With `skip`, only the first DUE time is submitted, and none while an execution
# has not ended or is yet to be submitted, or a fire of a backfill is leased. With `cancel`, only the last one is,
# because it would cancel the others.
_TAKE: Final = """
WITH taken AS (
    UPDATE executions_schedule SET next_at = %(following)s
    WHERE id = %(schedule)s AND next_at = %(next_at)s AND version = %(version)s RETURNING id, overlap
), wanted AS (
    SELECT t.id AS schedule_id, f.at, f.code, f.detail,
        CASE WHEN f.state <> 'DUE' THEN f.state
            WHEN t.overlap = 'skip' AND (f.position > %(first)s OR EXISTS ({unfinished})
                OR EXISTS (SELECT FROM executions_schedulefire o
                    WHERE o.schedule_id = t.id AND o.state = 'DUE'
                        AND (NOT o.is_backfill OR o.next_attempt_at > now())))
            THEN 'SKIPPED'
            WHEN t.overlap = 'cancel' AND f.position < %(last)s THEN 'SKIPPED'
            ELSE 'DUE' END AS state
    FROM taken t, unnest(%(times)s::timestamptz[], %(states)s::text[], %(codes)s::text[], %(details)s::text[])
        WITH ORDINALITY AS f (at, state, code, detail, position)
)
INSERT INTO executions_schedulefire
    (schedule_id, scheduled_at, is_backfill, state, code, detail, next_attempt_at, decided_at)
SELECT schedule_id, at, false, state, CASE WHEN state = 'SKIPPED' THEN 'OVERLAP' ELSE code END,
    CASE WHEN state = 'SKIPPED' THEN 'Another execution of the schedule had not ended.' ELSE detail END,
    CASE WHEN state = 'DUE' THEN now() END, CASE WHEN state <> 'DUE' THEN now() END
FROM wanted ORDER BY at ON CONFLICT (schedule_id, scheduled_at) DO NOTHING
"""
TAKE: Final = _TAKE.format(unfinished=_UNFINISHED.format(schedule="t.id"))

# The rows are chosen once: a subquery in the condition could run again for each row, and find further ones.
_CLAIM: Final = """
WITH chosen AS MATERIALIZED ({chosen})
UPDATE executions_schedulefire f SET next_attempt_at = now() + make_interval(secs => %(lease)s)
FROM chosen WHERE f.id = chosen.id AND f.state = 'DUE' RETURNING f.id, f.schedule_id, f.scheduled_at, f.is_backfill
"""

# Leases DUE fires that no other process has leased.
CLAIM: Final = _CLAIM.format(
    chosen="""SELECT id FROM executions_schedulefire
        WHERE state = 'DUE' AND NOT is_backfill AND next_attempt_at <= now()
        ORDER BY next_attempt_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED"""
)

_BACKFILLS: Final = """
    SELECT due.id FROM executions_schedule s CROSS JOIN LATERAL (
        SELECT f.id, f.next_attempt_at FROM executions_schedulefire f
        WHERE f.schedule_id = s.id AND f.state = 'DUE' AND f.is_backfill ORDER BY f.scheduled_at
        LIMIT CASE WHEN s.overlap = 'queue' THEN %(limit)s ELSE 1 END FOR UPDATE) due
    WHERE s.paused_at IS NULL AND due.next_attempt_at <= now()
        AND s.id IN (SELECT schedule_id FROM executions_schedulefire
            WHERE state = 'DUE' AND is_backfill AND next_attempt_at <= now())
        AND (s.overlap = 'queue' OR NOT EXISTS ({unfinished}) AND NOT EXISTS (SELECT FROM executions_schedulefire o
            WHERE o.schedule_id = s.id AND o.state = 'DUE' AND NOT o.is_backfill))
    ORDER BY due.next_attempt_at LIMIT %(most)s
"""

# Leases the oldest fires of backfills: some of each schedule with `queue`. Of others one, when no execution is open or
# about to be submitted. At most %(most)s in all.
CLAIM_BACKFILLS: Final = _CLAIM.format(chosen=_BACKFILLS.format(unfinished=_UNFINISHED.format(schedule="s.id")))

# Records results. A fire that was decided meanwhile stays as it is, unless this result is an execution.
DECIDE: Final = """
UPDATE executions_schedulefire f SET state = r.state, code = r.code, detail = r.detail, execution_id = r.execution_id,
    next_attempt_at = NULL, decided_at = now()
FROM unnest(%(ids)s::bigint[], %(states)s::text[], %(codes)s::text[], %(details)s::text[], %(executions)s::uuid[])
    AS r (id, state, code, detail, execution_id)
WHERE f.id = r.id AND f.state <> 'SUBMITTED' AND (f.state = 'DUE' OR r.execution_id IS NOT NULL)
"""

# Adds the times of a backfill as DUE fires. Times that were submitted or are DUE stay as they are, and do not count.
BACKFILL: Final = """
INSERT INTO executions_schedulefire (schedule_id, scheduled_at, is_backfill, state, code, detail, next_attempt_at)
SELECT %(schedule)s, at, true, 'DUE', '', '', now() FROM unnest(%(times)s::timestamptz[]) AS f (at) ORDER BY at
ON CONFLICT (schedule_id, scheduled_at) DO UPDATE SET is_backfill = true, state = 'DUE', code = '', detail = '',
    next_attempt_at = now(), decided_at = NULL
WHERE executions_schedulefire.state NOT IN ('SUBMITTED', 'DUE') RETURNING id
"""

# Ends the DUE fires of a schedule that is removed.
END_FIRES: Final = """
UPDATE executions_schedulefire SET state = 'SKIPPED', code = 'SCHEDULE_REMOVED', detail = 'The schedule was removed.',
    next_attempt_at = NULL, decided_at = now()
WHERE schedule_id = %(schedule)s AND state = 'DUE'
"""

# Removes fires that are older than the tenant keeps executions, and whose executions are removed. A term has a day at
# least, and a tenant without one keeps its fires.
REMOVE_OLD: Final = """
DELETE FROM executions_schedulefire WHERE id IN (
    SELECT f.id FROM executions_schedulefire f JOIN executions_schedule s ON s.id = f.schedule_id
    JOIN tenancy_tenant t ON t.id = s.tenant_id
    WHERE f.state <> 'DUE' AND f.created_at < now() - make_interval(days => t.retention_days)
        AND NOT EXISTS (SELECT FROM executions_execution e WHERE e.id = f.execution_id)
    ORDER BY f.created_at LIMIT %(limit)s FOR UPDATE OF f SKIP LOCKED)
"""
