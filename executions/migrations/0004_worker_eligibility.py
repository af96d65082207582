"""Adds the view that decides which worker may run which release, and the function that counts RUNNING executions."""

import django.db.models.deletion
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
VIEW = """
CREATE VIEW executions_workereligibility AS
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
        OR w.capability_checked_at > worker_clock() - interval '60 seconds') THEN w.capability_error = '' END AS verdict
FROM executions_worker w
LEFT JOIN (releases_pipeline p JOIN releases_release r ON r.pipeline_id = p.id AND r.status <> 'REJECTED')
    ON p.tenant_id = w.tenant_id AND p.pipeline_id = w.pipeline_id
    AND r.contract_version = w.contract_version AND r.release_version = w.release_version
CROSS JOIN LATERAL (
    SELECT coalesce(w.alive_until < CASE w.protocol WHEN 'celery' THEN worker_clock() ELSE now() END, false) AS silent,
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

# A statement sees the executions as they were when it began, so its own count may miss executions that another claim has
# just leased. This volatile function counts after it has the lock, and sees everything committed by then.
# A release that is paused gets JSON null instead of counts. A pause takes the same lock, so that it waits for claims that
# do not see it yet.
# A REST worker that was registered for another release may still run executions of the earlier one. These take its
# places too. They are found by the releases of the pipeline, so that no index on `lease_owner` is needed.
# 7306 is the class of these locks. Locks of two keys never conflict with locks of one key, as in `releases.artifacts.blob_lock`.
COUNT = """
CREATE FUNCTION count_running_for_claim(release bigint, rest_owners text[]) RETURNS jsonb LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(7306, hashint8(release)) THEN
        RETURN NULL;
    END IF;
    IF EXISTS (SELECT FROM executions_heldrelease h WHERE h.release_id = release) THEN
        RETURN 'null';
    END IF;
    RETURN (SELECT coalesce(jsonb_object_agg(lease_owner, running), '{}') FROM (
        SELECT lease_owner, count(*) AS running FROM (
            SELECT e.lease_owner FROM executions_execution e WHERE e.release_id = release AND e.status = 'RUNNING'
            UNION ALL
            SELECT elsewhere.lease_owner FROM releases_release r
            JOIN releases_release other ON other.pipeline_id = r.pipeline_id AND other.id <> r.id
            CROSS JOIN LATERAL (SELECT e.lease_owner FROM executions_execution e
                WHERE e.release_id = other.id AND e.status = 'RUNNING' OFFSET 0) elsewhere
            WHERE rest_owners IS NOT NULL AND r.id = release AND elsewhere.lease_owner = ANY (rest_owners)
        ) leases GROUP BY lease_owner) held);
END $$
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0003_message_path"), ("releases", "0001_initial"))
    operations = (
        migrations.RunSQL(VIEW, "DROP VIEW executions_workereligibility"),
        migrations.RunSQL(COUNT, "DROP FUNCTION count_running_for_claim"),
        migrations.CreateModel(
            name="WorkerEligibility",
            fields=[
                (
                    "worker",
                    models.OneToOneField(
                        db_column="worker_id",
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="eligibility",
                        serialize=False,
                        to="executions.worker",
                    ),
                ),
                (
                    "release",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="releases.release",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("HEALTHY", "Healthy"),
                            ("STALE", "Stale"),
                            ("DRAINING", "Draining"),
                            ("UNAVAILABLE", "Unavailable"),
                        ],
                        max_length=12,
                    ),
                ),
                ("reason", models.CharField(max_length=40, null=True)),
                ("admits", models.BooleanField()),
                ("artifact_fits", models.BooleanField(null=True)),
                ("verdict", models.BooleanField(null=True)),
                ("lease_owner", models.CharField(max_length=200)),
            ],
            options={"db_table": "executions_workereligibility", "managed": False},
        ),
    )
