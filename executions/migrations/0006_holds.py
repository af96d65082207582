"""Adds holds: pauses of executions, releases and pipelines."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

# The releases that are paused, each by its own hold or by that of its pipeline.
VIEW = """
CREATE VIEW executions_heldrelease AS
SELECT release_id, started_at FROM executions_hold WHERE ended_at IS NULL AND release_id IS NOT NULL
UNION ALL
SELECT r.id, h.started_at FROM executions_hold h JOIN releases_release r ON r.pipeline_id = h.pipeline_id
WHERE h.ended_at IS NULL AND h.pipeline_id IS NOT NULL
"""

# The time by which the deadlines of an execution are judged. It stands still while any hold of it is open.
CLOCK = """
CREATE FUNCTION execution_clock(execution uuid) RETURNS timestamptz LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce((
        SELECT min(h.started_at) FROM executions_execution e
        JOIN releases_release r ON r.id = e.release_id
        JOIN executions_hold h ON h.ended_at IS NULL
            AND (h.execution_id = e.id OR h.release_id = r.id OR h.pipeline_id = r.pipeline_id)
        WHERE e.id = execution), clock_timestamp())
$$;
"""

# The times of a hold are those of the clock, not of the transaction: a transaction that waited for the lock of the
# pipeline began before the hold that preceded this one ended.
GUARDS = """
CREATE FUNCTION guard_hold() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.ended_at IS NOT NULL OR NEW.tenant_id IS DISTINCT FROM coalesce(
            (SELECT e.tenant_id FROM executions_execution e WHERE e.id = NEW.execution_id),
            (SELECT p.tenant_id FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
                WHERE r.id = NEW.release_id),
            (SELECT p.tenant_id FROM releases_pipeline p WHERE p.id = NEW.pipeline_id))
        THEN
            RAISE EXCEPTION 'a hold starts open, and its target belongs to its tenant'
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'hold_starts_open';
        END IF;
        NEW.started_at := clock_timestamp();
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND OLD.execution_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM executions_execution WHERE id = OLD.execution_id)
    THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'DELETE' OR OLD.ended_at IS NOT NULL OR NEW.ended_at IS NULL
        OR (NEW.id, NEW.tenant_id, NEW.execution_id, NEW.release_id, NEW.pipeline_id, NEW.reason,
            NEW.refuses_submissions, NEW.started_by, NEW.started_at)
        IS DISTINCT FROM
        (OLD.id, OLD.tenant_id, OLD.execution_id, OLD.release_id, OLD.pipeline_id, OLD.reason,
            OLD.refuses_submissions, OLD.started_by, OLD.started_at)
    THEN
        RAISE EXCEPTION 'hold %: it ends once, and never changes otherwise', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'hold_ends_once';
    END IF;
    NEW.ended_at := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER hold_guard BEFORE INSERT OR UPDATE OR DELETE ON executions_hold
    FOR EACH ROW EXECUTE FUNCTION guard_hold();
CREATE TRIGGER hold_not_truncated BEFORE TRUNCATE ON executions_hold
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_held() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    execution uuid := CASE TG_TABLE_NAME WHEN 'executions_hold' THEN to_jsonb(NEW) ->> 'execution_id'
        ELSE to_jsonb(NEW) ->> 'id' END;
BEGIN
    IF (SELECT e.held FROM executions_execution e WHERE e.id = execution) IS DISTINCT FROM
        EXISTS (SELECT FROM executions_hold h WHERE h.execution_id = execution AND h.ended_at IS NULL)
    THEN
        RAISE EXCEPTION 'execution %: it is held exactly while it has an open hold', execution
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hold_holds_execution AFTER INSERT OR UPDATE ON executions_hold
    FOR EACH ROW WHEN (NEW.execution_id IS NOT NULL) EXECUTE FUNCTION guard_held();
CREATE TRIGGER execution_held_by_hold AFTER UPDATE OF held ON executions_execution
    FOR EACH ROW EXECUTE FUNCTION guard_held();
"""
NO_GUARDS = """
DROP TRIGGER execution_held_by_hold ON executions_execution;
DROP TRIGGER hold_holds_execution ON executions_hold;
DROP TRIGGER hold_not_truncated ON executions_hold;
DROP TRIGGER hold_guard ON executions_hold;
DROP FUNCTION guard_held, guard_hold;
"""


class Migration(migrations.Migration):
    dependencies = (
        ("executions", "0005_worker_keys"),
        ("releases", "0002_invariants"),
        ("tenancy", "0003_login_counters"),
    )
    operations = (
        migrations.RemoveIndex(model_name="execution", name="execution_due"),
        migrations.AddField("execution", "held", models.BooleanField(db_default=False, default=False)),
        migrations.AddField("interaction", "first_deadline", models.DateTimeField(null=True)),
        migrations.AddIndex(
            "execution",
            models.Index(
                fields=["release", "next_due_at"],
                condition=models.Q(("held", False), ("status__in", ["QUEUED", "WAIT_RETRY"])),
                name="execution_due",
            ),
        ),
        migrations.CreateModel(
            name="Hold",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reason", models.CharField(max_length=1000)),
                ("refuses_submissions", models.BooleanField(default=False)),
                ("started_by", models.CharField(max_length=200)),
                (
                    "started_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by", models.CharField(max_length=200, null=True)),
                ("end_reason", models.CharField(max_length=1000, null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="holds",
                        to="tenancy.tenant",
                    ),
                ),
                *(
                    (
                        name,
                        models.ForeignKey(
                            db_index=False,
                            null=True,
                            on_delete=django.db.models.deletion.PROTECT,
                            related_name="holds",
                            to=model,
                        ),
                    )
                    for name, model in (
                        ("execution", "executions.execution"),
                        ("release", "releases.release"),
                        ("pipeline", "releases.pipeline"),
                    )
                ),
            ],
            options={
                "ordering": ("-started_at", "-id"),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("execution__isnull", False), ("pipeline__isnull", True), ("release__isnull", True)
                        )
                        | models.Q(("execution__isnull", True), ("pipeline__isnull", True), ("release__isnull", False))
                        | models.Q(("execution__isnull", True), ("pipeline__isnull", False), ("release__isnull", True)),
                        name="hold_has_one_target",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("refuses_submissions", False), ("execution__isnull", True), _connector="OR"
                        ),
                        name="hold_refuses_submissions",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("reason__regex", r"^\s*$"), _negated=True), name="hold_says_why"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("end_reason__isnull", True), ("ended_at__isnull", True), ("ended_by__isnull", True)
                        )
                        | models.Q(
                            ("end_reason__isnull", False), ("ended_at__isnull", False), ("ended_by__isnull", False)
                        ),
                        name="hold_end_is_complete",
                    ),
                    *(
                        models.UniqueConstraint(
                            fields=(name,), condition=models.Q(("ended_at__isnull", True)), name=f"hold_of_{name}_once"
                        )
                        for name in ("execution", "release", "pipeline")
                    ),
                ],
                "indexes": [
                    models.Index(
                        fields=["tenant", "-started_at", "-id"],
                        condition=models.Q(("ended_at__isnull", True)),
                        name="hold_newest",
                    ),
                    models.Index(
                        fields=["execution"],
                        condition=models.Q(("execution__isnull", False)),
                        name="hold_of_execution",
                    ),
                ],
            },
        ),
        migrations.RunSQL(VIEW, "DROP VIEW executions_heldrelease"),
        migrations.RunSQL(CLOCK, "DROP FUNCTION execution_clock"),
        migrations.RunSQL(GUARDS, NO_GUARDS),
    )
