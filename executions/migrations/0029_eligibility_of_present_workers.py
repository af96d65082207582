"""The view of eligible workers reads its clock once for each statement, instead of once for each worker."""

from django.db import migrations, models

# One row for each worker, with the release that it names or null. This view contains every rule of eligibility.
# A worker that names an artifact must name one of any kind that the release pins (wire protocol D.8).
# A worker that reports that its code comes from a folder gets no work if the pipeline's policy refuses such workers.
# A worker that does not report where its code comes from is unaffected: REST workers never do.
# A REST worker may be silent: it sends no heartbeats itself, and accepted executions are still sent to it.
# A Celery worker is silent only if its heartbeats could have arrived: see `worker_clock`.
# A verdict of a REST worker is valid for 60 seconds. Time in which no message reaches the control workers does not count
# (ADR 24). If the worker did not answer the last check, the verdict is valid until the next check.
# `present` is cheap to evaluate, so that a claim skips former workers before it looks up releases.
# A statement calls `worker_clock` once, because a sub-select that refers to no row is evaluated once. Each call takes 0.1 ms.
VIEW = """
CREATE OR REPLACE VIEW executions_workereligibility AS
SELECT w.id AS worker_id, w.tenant_id, r.id AS release_id, w.protocol, w.transition_seconds,
    greatest(w.capacity - w.abandoned, 0) AS capacity,
    CASE w.protocol WHEN 'rest' THEN left('rest:' || w.id || ':' || w.worker_id, 200)
        ELSE left('worker:' || w.worker_id, 200) END AS lease_owner, w.worker_id AS worker_name,
    fact.fits AS artifact_fits,
    w.stopped_at IS NULL AND NOT (fact.silent AND w.protocol = 'celery') AS present,
    CASE WHEN w.stopped_at IS NOT NULL THEN 'UNAVAILABLE' WHEN fact.draining THEN 'DRAINING'
        WHEN fact.silent THEN 'STALE' ELSE 'HEALTHY' END AS state,
    rule.reason,
    rule.reason IS NULL AND NOT fact.silent AS admits,
    CASE WHEN w.protocol = 'rest' AND (w.unanswered_checks > 0
        OR w.capability_checked_at > (SELECT worker_clock()) - interval '60 seconds') THEN w.capability_error = '' END AS verdict
FROM executions_worker w
LEFT JOIN (releases_pipeline p JOIN releases_release r ON r.pipeline_id = p.id AND r.status <> 'REJECTED')
    ON p.tenant_id = w.tenant_id AND p.pipeline_id = w.pipeline_id
    AND r.contract_version = w.contract_version AND r.release_version = w.release_version
CROSS JOIN LATERAL (
    SELECT coalesce(w.alive_until < CASE w.protocol WHEN 'celery' THEN (SELECT worker_clock()) ELSE now() END, false) AS silent,
        w.draining_since IS NOT NULL OR w.drained_by_operator_at IS NOT NULL AS draining,
        CASE WHEN w.artifact_digest <> '' OR w.artifact_id <> '' THEN EXISTS (
            SELECT FROM releases_artifact a WHERE a.release_id = r.id
                AND w.artifact_digest IN ('', a.digest) AND w.artifact_id IN ('', a.artifact_id)) END AS fits
) fact
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN w.protocol NOT IN ('celery', 'rest') THEN 'PROTOCOL_NOT_SUPPORTED'
        WHEN w.stopped_at IS NOT NULL THEN 'STOPPED'
        WHEN r.id IS NULL THEN 'RELEASE_UNKNOWN'
        WHEN NOT fact.fits THEN 'OTHER_ARTIFACT'
        WHEN w.code = 'source' AND p.unverified_workers = 'refuse' THEN 'UNVERIFIED_CODE'
        WHEN w.drained_by_operator_at IS NOT NULL THEN 'DRAINED_BY_OPERATOR'
        WHEN w.draining_since IS NOT NULL THEN 'DRAINING'
        WHEN fact.silent AND w.protocol = 'celery' THEN 'SILENT'
        WHEN w.blocked_reason <> '' THEN w.blocked_reason
        WHEN w.abandoned >= w.capacity THEN 'NO_FREE_THREAD'
    END AS reason
) rule
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0028_events_of_former_workers"),)
    operations = (
        migrations.RunSQL(VIEW, migrations.RunSQL.noop),
        migrations.AddField("workereligibility", "present", models.BooleanField()),
    )
