"""The policy of a pipeline may name a channel that gets messages about the ends of its executions.

A channel that a policy names exists, and is enabled when the policy begins to name it. The lock of the channel makes its
removal wait, which `alerts.0003_named_channels` then refuses. Channels are in a table of `alerts`, which stands above.
"""

from django.db import migrations, models
from django.db.models import Q

GUARD = """
CREATE FUNCTION guard_notify_channel() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.notify_channel = OLD.notify_channel THEN
        RETURN NEW;
    END IF;
    PERFORM FROM alerts_alertchannel c
    WHERE c.tenant_id = NEW.tenant_id AND c.name = NEW.notify_channel AND c.enabled AND c.removed_at IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'pipeline %: there is no enabled channel %', NEW.pipeline_id, NEW.notify_channel
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'pipeline_notify_channel_known';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER pipeline_notify_channel BEFORE INSERT OR UPDATE OF notify_channel ON releases_pipeline
    FOR EACH ROW WHEN (NEW.notify_channel IS NOT NULL) EXECUTE FUNCTION guard_notify_channel();
"""


class Migration(migrations.Migration):
    dependencies = (("releases", "0005_indexes"),)
    operations = (
        migrations.AddField("pipeline", "notify_channel", models.CharField(blank=True, max_length=100, null=True)),
        migrations.AddField(
            "pipeline",
            "notify_ends",
            models.CharField(
                choices=[
                    ("all", "The channel gets a message at each end of an execution"),
                    ("failed", "The channel gets a message if an execution fails"),
                ],
                db_default="all",
                default="all",
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            "pipeline",
            models.CheckConstraint(condition=Q(notify_ends__in=["all", "failed"]), name="pipeline_notify_ends_known"),
        ),
        migrations.RunSQL(GUARD),
    )
