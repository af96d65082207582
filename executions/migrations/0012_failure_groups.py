"""Groups failures by release, step and fingerprint, and records which step failed."""

import uuid

import django.db.models.deletion
from django.db import migrations, models

# The fingerprint of a failure: the hash of its error code and of the start of its message, in which quoted parts, UUIDs,
# hexadecimal runs, numbers, and lists of these are replaced. The hash of a changed function would split the groups that
# exist.
FUNCTIONS = """
CREATE FUNCTION failure_fingerprint(code text, message text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT left(encode(sha256(convert_to(code || chr(10) || left(
        regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(message,
            '[[:space:]]+', ' ', 'g'),
            '(?<![0-9A-Za-z])(''[^'']*''|"[^"]*"|`[^`]*`|“[^”]*”|‘[^’]*’|«[^»]*»)(?![0-9A-Za-z])', '#', 'g'),
            '[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}', '#', 'g'),
            '(?<![0-9A-Za-z]|[0-9][.])(0[xX][0-9a-fA-F]+|(?=[0-9]*[a-fA-F])([0-9a-fA-F]{8,}|(?=[a-fA-F]*[0-9])[0-9a-fA-F]{4,}))(?![0-9A-Za-z])',
            '#', 'g'),
            '[-+]?[0-9]+([.,:][0-9]+)*([eE][-+]?[0-9]+)?', '#', 'g'),
            '#([ ,;]*#)+', '#', 'g'),
        256), 'UTF8')), 'hex'), 32)
$$;

CREATE FUNCTION failure_group_id(release_id bigint, step_index int, fingerprint text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT left(encode(sha256(convert_to(concat_ws(':', release_id, step_index, fingerprint), 'UTF8')), 'hex'), 32)::uuid
$$;

-- The step that failed, as the worker reported it in the event of the failure; null if it reported none.
CREATE FUNCTION failed_step(execution uuid, terminal_status text, failed_at timestamptz) RETURNS int
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT CASE WHEN v.data ->> 'failedStepIndex' ~ '^[0-9]{1,9}$' THEN (v.data ->> 'failedStepIndex')::int END
    FROM executions_executionevent v
    WHERE v.execution_id = execution AND v.status = terminal_status AND v.at = failed_at
        AND v.kind IN ('FAILED', 'RETRIES_EXHAUSTED')
    ORDER BY v.sequence DESC LIMIT 1
$$;
"""
NO_FUNCTIONS = "DROP FUNCTION failed_step, failure_group_id, failure_fingerprint;"

# Existing dead letters are append-only, so their guard is off while their new columns are filled.
FILL = """
ALTER TABLE executions_deadletter DISABLE TRIGGER deadletter_append_only;
UPDATE executions_deadletter d SET
    failed_step_index = coalesce(failed_step(d.execution_id, d.terminal_status, d.created_at), d.step_index);
INSERT INTO executions_failuregroup (id, tenant_id, release_id, step_index, fingerprint, error_code, sample_message,
    first_seen_at, last_seen_at)
SELECT DISTINCT ON (e.release_id, d.failed_step_index, d.fingerprint)
    failure_group_id(e.release_id, d.failed_step_index, d.fingerprint), d.tenant_id, e.release_id, d.failed_step_index,
    d.fingerprint, d.error_code, d.error_message,
    min(d.created_at) OVER same, max(d.created_at) OVER same
FROM executions_deadletter d JOIN executions_execution e ON e.id = d.execution_id AND NOT e.smoke
WINDOW same AS (PARTITION BY e.release_id, d.failed_step_index, d.fingerprint)
ORDER BY e.release_id, d.failed_step_index, d.fingerprint, d.created_at DESC;
UPDATE executions_deadletter d SET group_id = failure_group_id(e.release_id, d.failed_step_index, d.fingerprint)
FROM executions_execution e WHERE e.id = d.execution_id AND NOT e.smoke;
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE executions_deadletter ENABLE TRIGGER deadletter_append_only;
"""

# Failures never wait for each other's locks once their group exists: the row of the group is locked at most once a
# minute, or for the first failure after an acknowledgement, and a locked row is skipped. The function that writes groups
# runs with the owner's rights, because the application may only change what people decide. It looks for the group before it
# inserts: ON CONFLICT alone would wait for a transaction that changes the row.
FORWARD = """
CREATE FUNCTION set_failure_group() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.failed_step_index := coalesce(failed_step(NEW.execution_id, NEW.terminal_status, now()), NEW.step_index);
    NEW.group_id := (SELECT failure_group_id(e.release_id, NEW.failed_step_index,
            failure_fingerprint(NEW.error_code, NEW.error_message))
        FROM executions_execution e WHERE e.id = NEW.execution_id AND NOT e.smoke);
    RETURN NEW;
END $$;
CREATE TRIGGER dead_letter_grouped BEFORE INSERT ON executions_deadletter
    FOR EACH ROW EXECUTE FUNCTION set_failure_group();

CREATE FUNCTION add_failure_groups() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO public.executions_failuregroup (id, tenant_id, release_id, step_index, fingerprint, error_code,
        sample_message, first_seen_at, last_seen_at)
    SELECT DISTINCT ON (a.group_id) a.group_id, a.tenant_id, e.release_id, a.failed_step_index, a.fingerprint,
        a.error_code, a.error_message, now(), now()
    FROM added a JOIN public.executions_execution e ON e.id = a.execution_id
    WHERE a.group_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM public.executions_failuregroup g WHERE g.id = a.group_id)
    ORDER BY a.group_id ON CONFLICT DO NOTHING;
    UPDATE public.executions_failuregroup g SET last_seen_at = greatest(g.last_seen_at, now())
    FROM (SELECT f.id FROM public.executions_failuregroup f
        WHERE f.id IN (SELECT group_id FROM added)
            AND (f.last_seen_at < now() - interval '1 minute' OR f.last_seen_at <= f.acknowledged_at)
        ORDER BY f.id FOR NO KEY UPDATE SKIP LOCKED) stale
    WHERE g.id = stale.id;
    RETURN NULL;
END $$;
CREATE TRIGGER dead_letter_adds_group AFTER INSERT ON executions_deadletter REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_failure_groups();

ALTER TABLE executions_failuregroup ADD CONSTRAINT failure_group_computed_id
    CHECK (id = failure_group_id(release_id, step_index, fingerprint));
CREATE TRIGGER failure_group_starts AFTER INSERT ON executions_failuregroup
    FOR EACH ROW WHEN ((NEW.first_seen_at = now() AND NEW.last_seen_at = now() AND NEW.acknowledged_at IS NULL
        AND NEW.assignee = '' AND NEW.note = '') IS NOT TRUE) EXECUTE FUNCTION refuse_insert();

CREATE FUNCTION guard_failure_group() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (NEW.id, NEW.tenant_id, NEW.release_id, NEW.step_index, NEW.fingerprint, NEW.error_code, NEW.sample_message,
        NEW.first_seen_at) IS DISTINCT FROM
        (OLD.id, OLD.tenant_id, OLD.release_id, OLD.step_index, OLD.fingerprint, OLD.error_code, OLD.sample_message,
        OLD.first_seen_at)
    THEN
        RAISE EXCEPTION 'failure group %: only what people decide about it changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'failure_group_immutable';
    END IF;
    IF (NEW.acknowledged_by, NEW.acknowledged_at) IS DISTINCT FROM (OLD.acknowledged_by, OLD.acknowledged_at)
        AND NEW.acknowledged_at <> now()
    THEN
        RAISE EXCEPTION 'failure group %: it is acknowledged at the current time', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'failure_group_acknowledged_now';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER failure_group_guard BEFORE UPDATE ON executions_failuregroup
    FOR EACH ROW EXECUTE FUNCTION guard_failure_group();
-- Only the trigger of dead letters sets the times of a group.
CREATE TRIGGER failure_group_seen_by_trigger BEFORE UPDATE OF last_seen_at ON executions_failuregroup
    FOR EACH ROW WHEN (pg_trigger_depth() < 1) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER failure_group_not_deleted BEFORE DELETE ON executions_failuregroup
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER failure_group_not_truncated BEFORE TRUNCATE ON executions_failuregroup
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
BACKWARD = """
DROP FUNCTION set_failure_group, add_failure_groups, guard_failure_group CASCADE;
DROP TRIGGER failure_group_starts ON executions_failuregroup;
DROP TRIGGER failure_group_seen_by_trigger ON executions_failuregroup;
DROP TRIGGER failure_group_not_deleted ON executions_failuregroup;
DROP TRIGGER failure_group_not_truncated ON executions_failuregroup;
ALTER TABLE executions_failuregroup DROP CONSTRAINT failure_group_computed_id;
"""


class Migration(migrations.Migration):
    dependencies = (
        ("executions", "0011_smoke"),
        ("releases", "0009_smoke_and_skew"),
        ("tenancy", "0005_combined_roles"),
    )
    operations = (
        migrations.RunSQL(FUNCTIONS, NO_FUNCTIONS),
        migrations.CreateModel(
            name="FailureGroup",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("step_index", models.IntegerField()),
                ("fingerprint", models.CharField(max_length=32)),
                ("error_code", models.CharField(max_length=100)),
                ("sample_message", models.CharField(max_length=512)),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("acknowledged_by", models.CharField(blank=True, db_default="", default="", max_length=200)),
                ("acknowledged_at", models.DateTimeField(null=True)),
                ("assignee", models.CharField(blank=True, db_default="", default="", max_length=150)),
                ("note", models.CharField(blank=True, db_default="", default="", max_length=1000)),
                (
                    "release",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="failure_groups",
                        to="releases.release",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="failure_groups",
                        to="tenancy.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "failure group",
                "verbose_name_plural": "failures",
                "ordering": ("-last_seen_at", "-id"),
                "indexes": [
                    models.Index(fields=["tenant", "-last_seen_at", "-id"], name="failure_group_newest"),
                    models.Index(fields=["-last_seen_at", "-id"], name="failure_group_newest_of_all"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("release", "step_index", "fingerprint"), name="failure_group_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("acknowledged_at__isnull", True), ("acknowledged_by", "")),
                            models.Q(
                                ("acknowledged_at__isnull", False), models.Q(("acknowledged_by", ""), _negated=True)
                            ),
                            _connector="OR",
                        ),
                        name="failure_group_acknowledged_by",
                    ),
                ],
            },
        ),
        migrations.AlterModelOptions("deadletter", {"ordering": ("-created_at", "-id"), "verbose_name": "failure"}),
        migrations.AddField("deadletter", "failed_step_index", models.IntegerField(null=True)),
        migrations.AddField(
            "deadletter",
            "fingerprint",
            models.GeneratedField(
                db_persist=True,
                expression=models.Func(
                    models.F("error_code"), models.F("error_message"), function="failure_fingerprint"
                ),
                output_field=models.CharField(max_length=32),
            ),
        ),
        migrations.AddField(
            "deadletter",
            "group",
            models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="letters",
                to="executions.failuregroup",
            ),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.AlterField("deadletter", "failed_step_index", models.IntegerField()),
        migrations.AddIndex(
            "deadletter", models.Index(fields=["group", "-created_at", "-id"], name="dead_letter_of_group")
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
