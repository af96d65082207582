"""Smoke tests: executions that try a release, and what is expected of them."""

import django.contrib.postgres.functions
import django.db.models.deletion
from django.db import migrations, models

GUARD = """
CREATE OR REPLACE FUNCTION guard_submission() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    -- The lock, which the foreign key takes later anyway, makes a retirement wait for this transaction, and re-reads
    -- the status if a retirement held it.
    PERFORM FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
        JOIN releases_activation a ON a.id = p.activation_id AND r.id IN (a.release_id, a.candidate_id)
        WHERE r.id = NEW.release_id AND r.status = 'REGISTERED' AND p.tenant_id = NEW.tenant_id
            AND p.pipeline_id = NEW.pipeline_id AND r.contract_version = NEW.contract_version
            AND r.release_version = NEW.release_version
        FOR KEY SHARE OF r;
    IF NOT FOUND THEN
        -- %(who)s A separate statement, so that others do not pay for it.
        PERFORM FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
            WHERE r.id = NEW.release_id AND r.status = 'REGISTERED' AND p.tenant_id = NEW.tenant_id
                AND p.pipeline_id = NEW.pipeline_id AND r.contract_version = NEW.contract_version
                AND r.release_version = NEW.release_version
                AND (%(smoke)sEXISTS (
                    SELECT FROM executions_resubmission s WHERE s.new_execution_id = NEW.id AND s.created_at = now()))
            FOR KEY SHARE OF r;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'execution %%: the pin does not name an open release of the pipeline and tenant', NEW.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_pin_exists';
        END IF;
    END IF;
    IF NEW.status <> 'QUEUED' OR NEW.version <> 0 OR NEW.attempt <> 0 OR NEW.event_count <> 1 THEN
        RAISE EXCEPTION 'execution %%: an execution starts QUEUED, at version 0 and attempt 0, with one event', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_starts_queued';
    END IF;
    RETURN NEW;
END $$;
"""
NOW = GUARD % {
    "who": "Resubmissions and smoke tests may name a release that is not active, submissions one that is still open.",
    "smoke": "NEW.smoke OR release_open_until(r.id) > clock_timestamp() OR ",
}
BEFORE = GUARD % {"who": "A resubmission may name a release that is not active.", "smoke": ""}

# The execution and its smoke test are written in one transaction.
FORWARD = """
ALTER TABLE executions_smoketest ADD CONSTRAINT smoke_test_expects_one_result CHECK (expected_result IS NULL OR (
    jsonb_typeof(expected_result) = 'array' AND expected_result -> 0 IS NOT NULL AND expected_result -> 1 IS NULL));

CREATE FUNCTION guard_smoke_test() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_execution e
        WHERE e.id = NEW.execution_id AND e.smoke AND e.release_id = NEW.release_id AND e.created_at = now())
    THEN
        RAISE EXCEPTION 'smoke test %: it is written with its execution, which runs the release', NEW.execution_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER smoke_test_of_execution AFTER INSERT ON executions_smoketest
    FOR EACH ROW EXECUTE FUNCTION guard_smoke_test();

CREATE FUNCTION guard_smoke() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_smoketest s WHERE s.execution_id = NEW.id) THEN
        RAISE EXCEPTION 'execution %: its smoke test must be written in the same transaction', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER execution_smoke_has_test AFTER INSERT ON executions_execution
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.smoke) EXECUTE FUNCTION guard_smoke();

-- Fires only if a statement sets the column, so that moves do not pay for it.
CREATE TRIGGER execution_smoke_immutable BEFORE UPDATE OF smoke ON executions_execution
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER smoke_test_starts AFTER INSERT ON executions_smoketest
    FOR EACH ROW WHEN ((NEW.created_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER smoke_test_append_only BEFORE UPDATE OR DELETE ON executions_smoketest
    FOR EACH ROW EXECUTE FUNCTION guard_history();
CREATE TRIGGER smoke_test_not_truncated BEFORE TRUNCATE ON executions_smoketest
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
BACKWARD = """
DROP FUNCTION guard_smoke_test, guard_smoke CASCADE;
DROP TRIGGER execution_smoke_immutable ON executions_execution;
DROP TRIGGER smoke_test_starts ON executions_smoketest;
DROP TRIGGER smoke_test_append_only ON executions_smoketest;
DROP TRIGGER smoke_test_not_truncated ON executions_smoketest;
ALTER TABLE executions_smoketest DROP CONSTRAINT smoke_test_expects_one_result;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0010_tags"), ("releases", "0009_smoke_and_skew"))
    operations = (
        migrations.AddField("execution", "smoke", models.BooleanField(db_default=False, default=False)),
        migrations.CreateModel(
            name="SmokeTest",
            fields=[
                (
                    "execution",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="smoke_test",
                        serialize=False,
                        to="executions.execution",
                    ),
                ),
                ("expected_result", models.JSONField(null=True)),
                ("actor", models.CharField(max_length=200)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
                (
                    "release",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="smoke_tests",
                        to="releases.release",
                    ),
                ),
            ],
            options={
                "ordering": ("-created_at", "-execution_id"),
                "indexes": [
                    models.Index(fields=["release", "-created_at", "-execution"], name="smoke_test_newest"),
                ],
            },
        ),
        migrations.RunSQL(FORWARD + NOW, BACKWARD + BEFORE),
    )
