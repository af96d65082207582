"""An execution may name a channel, which gets a message at each of its ends.

A trigger writes the message in the transaction that ends the execution, whichever statement does that. Its condition is
false for executions without a channel, so they write nothing. The function runs with the owner's rights, because the
application adds no messages itself. The end of an execution never fails for its message: nothing refers to the channel.
"""

import django.db.models.deletion
from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import migrations, models
from django.db.models import Q

ENDS = """
CREATE FUNCTION notify_of_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO public.executions_notification (tenant_id, execution_id, channel_id, document)
    VALUES (NEW.tenant_id, NEW.id, NEW.notify, jsonb_build_object(
        'executionId', NEW.id,
        'pin', jsonb_build_object('pipelineId', NEW.pipeline_id, 'contractVersion', NEW.contract_version,
            'releaseVersion', NEW.release_version),
        'status', NEW.status,
        'finishedAt', to_char(NEW.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')));
    RETURN NULL;
END $$;
CREATE TRIGGER execution_end_notified AFTER UPDATE OF status ON executions_execution
    FOR EACH ROW WHEN (NEW.notify IS NOT NULL AND NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL)
    EXECUTE FUNCTION notify_of_end();
CREATE TRIGGER execution_notify_immutable BEFORE UPDATE OF notify ON executions_execution
    FOR EACH ROW WHEN (NEW.notify IS DISTINCT FROM OLD.notify) EXECUTE FUNCTION refuse_change();
"""
MESSAGES = """
-- A message that was sent or given up never changes. It is removed a day after that, or later.
CREATE FUNCTION guard_notification() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.finished_at < now() - interval '1 day' THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'notification %: it is kept for a day after its end', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'notification_kept';
    END IF;
    IF OLD.state <> 'PENDING' THEN
        RAISE EXCEPTION 'notification %: it is over, so it never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'notification_over_is_over';
    END IF;
    NEW.finished_at := CASE WHEN NEW.state <> 'PENDING' THEN now() END;
    RETURN NEW;
END $$;
CREATE TRIGGER notification_guard BEFORE UPDATE OR DELETE ON executions_notification
    FOR EACH ROW EXECUTE FUNCTION guard_notification();
CREATE TRIGGER notification_not_truncated BEFORE TRUNCATE ON executions_notification
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0021_guards_by_statement"), ("tenancy", "0001_tables"))
    operations = (
        migrations.CreateModel(
            "Notification",
            [
                ("id", models.UUIDField(db_default=RandomUUID(), editable=False, primary_key=True, serialize=False)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenancy.tenant",
                    ),
                ),
                ("execution_id", models.UUIDField()),
                ("channel_id", models.UUIDField()),
                ("document", models.JSONField()),
                (
                    "state",
                    models.CharField(
                        choices=[("PENDING", "Pending"), ("SENT", "Sent"), ("FAILED", "Failed")],
                        db_default="PENDING",
                        default="PENDING",
                        max_length=10,
                    ),
                ),
                ("attempts", models.IntegerField(db_default=0, default=0)),
                ("next_at", models.DateTimeField(db_default=TransactionNow())),
                ("error", models.CharField(db_default="", default="", max_length=300)),
                ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            {
                "ordering": ("-created_at", "-id"),
                "indexes": [
                    models.Index(condition=Q(state="PENDING"), fields=["next_at", "id"], name="notification_due"),
                    models.Index(fields=["tenant", "-created_at", "-id"], name="notification_newest"),
                    models.Index(fields=["execution_id"], name="notification_of_execution"),
                    models.Index(fields=["channel_id", "-created_at", "-id"], name="notification_of_channel"),
                    models.Index(condition=~Q(state="PENDING"), fields=["finished_at"], name="notification_over"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(state="PENDING", finished_at=None)
                        | Q(state__in=["SENT", "FAILED"], finished_at__isnull=False),
                        name="notification_over_has_finish",
                    )
                ],
            },
        ),
        migrations.RunSQL(MESSAGES),
        migrations.AddField("execution", "notify", models.UUIDField(null=True)),
        migrations.RunSQL(ENDS),
    )
