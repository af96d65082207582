"""Schedules and their fires. An installation without schedules has two empty tables.

The unique constraint of fires is the guarantee that each time of a schedule fires once.
"""

import uuid

from django.contrib.postgres.functions import TransactionNow
from django.db import migrations, models
from django.db.models import DO_NOTHING, PROTECT, F, Q

GUARDS = """
CREATE TRIGGER schedule_starts AFTER INSERT ON executions_schedule
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.removed_at IS NULL AND NEW.version = 0) IS NOT TRUE)
    EXECUTE FUNCTION refuse_insert();
ALTER TABLE executions_schedule ADD CONSTRAINT schedule_has_input
    CHECK (jsonb_typeof(input) = 'array' AND jsonb_array_length(input) = 1);
ALTER TABLE executions_schedule ADD CONSTRAINT schedule_exceptions CHECK (jsonb_typeof(exceptions) = 'array');

-- A schedule is of a pipeline of its tenant.
CREATE FUNCTION guard_new_schedule() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases_pipeline p WHERE p.id = NEW.pipeline_id AND p.tenant_id = NEW.tenant_id) THEN
        RAISE EXCEPTION 'schedule: its pipeline is of another tenant'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'schedule_own_pipeline';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER schedule_new BEFORE INSERT ON executions_schedule FOR EACH ROW EXECUTE FUNCTION guard_new_schedule();
CREATE TRIGGER schedule_removed_is_over BEFORE UPDATE ON executions_schedule
    FOR EACH ROW WHEN (OLD.removed_at IS NOT NULL) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER schedule_not_deleted BEFORE DELETE ON executions_schedule
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER schedule_not_truncated BEFORE TRUNCATE ON executions_schedule
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The time of a fire and what was submitted never change. A fire is removed a day after it was added, or later, and
-- after its execution.
CREATE FUNCTION guard_schedule_fire() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.state <> 'DUE' AND OLD.created_at < now() - interval '1 day'
            AND NOT EXISTS (SELECT FROM executions_execution e WHERE e.id = OLD.execution_id)
        THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'fire %: it is kept for a day, and as long as its execution', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'schedule_fire_kept';
    END IF;
    IF OLD.state = 'SUBMITTED' OR (NEW.id, NEW.schedule_id, NEW.scheduled_at, NEW.created_at)
        IS DISTINCT FROM (OLD.id, OLD.schedule_id, OLD.scheduled_at, OLD.created_at)
    THEN
        RAISE EXCEPTION 'fire %: its time and its execution never change', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'schedule_fire_once_only';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER schedule_fire_guard BEFORE UPDATE OR DELETE ON executions_schedulefire
    FOR EACH ROW EXECUTE FUNCTION guard_schedule_fire();
CREATE TRIGGER schedule_fire_not_truncated BEFORE TRUNCATE ON executions_schedulefire
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

SCHEDULE = migrations.CreateModel(
    "Schedule",
    [
        ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
        (
            "tenant",
            models.ForeignKey("tenancy.tenant", PROTECT, db_constraint=False, db_index=False, related_name="schedules"),
        ),
        ("pipeline", models.ForeignKey("releases.pipeline", PROTECT, related_name="schedules")),
        ("name", models.CharField(max_length=100)),
        ("cron", models.CharField(max_length=200)),
        ("time_zone", models.CharField(default="UTC", max_length=60)),
        ("exceptions", models.JSONField(default=list)),
        ("input", models.JSONField()),
        ("release_version", models.CharField(blank=True, default="", max_length=500)),
        (
            "overlap",
            models.CharField(
                choices=[
                    ("skip", "Skip this time"),
                    ("queue", "Submit another execution"),
                    ("cancel", "Cancel it, then submit"),
                ],
                default="skip",
                max_length=10,
            ),
        ),
        ("catch_up_minutes", models.PositiveIntegerField(default=60)),
        ("starts_at", models.DateTimeField(null=True)),
        ("ends_at", models.DateTimeField(null=True)),
        ("paused_at", models.DateTimeField(null=True)),
        ("next_at", models.DateTimeField(null=True)),
        ("version", models.IntegerField(default=0)),
        ("created_by", models.CharField(max_length=200)),
        ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
        ("removed_at", models.DateTimeField(null=True)),
    ],
    {
        "ordering": ("name", "id"),
        "indexes": [models.Index(condition=Q(next_at__isnull=False), fields=["next_at"], name="schedule_due")],
        "constraints": [
            models.UniqueConstraint(condition=Q(removed_at=None), fields=("tenant", "name"), name="schedule_name_once"),
            models.CheckConstraint(condition=Q(overlap__in=["skip", "queue", "cancel"]), name="schedule_overlap_known"),
            models.CheckConstraint(
                condition=Q(catch_up_minutes__gte=1, catch_up_minutes__lte=10080), name="schedule_catch_up"
            ),
            models.CheckConstraint(
                condition=Q(starts_at=None) | Q(ends_at=None) | Q(ends_at__gt=F("starts_at")),
                name="schedule_ends_after_start",
            ),
            models.CheckConstraint(
                condition=Q(next_at=None) | Q(paused_at=None, removed_at=None), name="schedule_stopped_has_no_next"
            ),
        ],
    },
)
FIRE = migrations.CreateModel(
    "ScheduleFire",
    [
        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
        ("schedule", models.ForeignKey("executions.schedule", PROTECT, db_index=False, related_name="fires")),
        ("scheduled_at", models.DateTimeField()),
        ("is_backfill", models.BooleanField(default=False)),
        (
            "state",
            models.CharField(
                choices=[
                    ("DUE", "Due"),
                    ("SUBMITTED", "Submitted"),
                    ("SKIPPED", "Skipped"),
                    ("MISSED", "Missed"),
                    ("REFUSED", "Refused"),
                ],
                default="DUE",
                max_length=10,
            ),
        ),
        ("code", models.CharField(blank=True, default="", max_length=60)),
        ("detail", models.CharField(blank=True, default="", max_length=1000)),
        (
            "execution",
            models.ForeignKey(
                "executions.execution", DO_NOTHING, db_constraint=False, db_index=False, null=True, related_name="+"
            ),
        ),
        ("next_attempt_at", models.DateTimeField(null=True)),
        ("decided_at", models.DateTimeField(null=True)),
        ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
    ],
    {
        "ordering": ("-scheduled_at", "-id"),
        "indexes": [
            models.Index(condition=Q(state="DUE"), fields=["next_attempt_at"], name="schedule_fire_due"),
            models.Index(condition=Q(state="DUE"), fields=["schedule", "scheduled_at"], name="schedule_fire_open"),
            models.Index(
                condition=Q(state="SUBMITTED"), fields=["schedule", "-decided_at"], name="schedule_fire_newest"
            ),
            models.Index(condition=Q(execution__isnull=False), fields=["execution"], name="schedule_fire_of_execution"),
            models.Index(condition=~Q(state="DUE"), fields=["created_at"], name="schedule_fire_over"),
        ],
        "constraints": [
            models.UniqueConstraint(fields=("schedule", "scheduled_at"), name="schedule_fire_once"),
            models.CheckConstraint(
                condition=Q(state="DUE", next_attempt_at__isnull=False, decided_at=None)
                | Q(
                    state__in=["SUBMITTED", "SKIPPED", "MISSED", "REFUSED"],
                    next_attempt_at=None,
                    decided_at__isnull=False,
                ),
                name="schedule_fire_decided",
            ),
            models.CheckConstraint(
                condition=Q(state="SUBMITTED", execution__isnull=False)
                | Q(state__in=["DUE", "SKIPPED", "MISSED", "REFUSED"], execution=None),
                name="schedule_fire_has_execution",
            ),
        ],
    },
)


class Migration(migrations.Migration):
    dependencies = (("executions", "0026_start_indexes"), ("releases", "0006_notify_channel"))
    operations = (SCHEDULE, FIRE, migrations.RunSQL(GUARDS))
