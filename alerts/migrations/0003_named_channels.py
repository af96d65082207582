"""A channel that the policy of a pipeline names is neither removed nor renamed."""

from django.db import migrations

GUARD = """
CREATE FUNCTION guard_named_channel() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    named text := (SELECT min(p.pipeline_id) FROM releases_pipeline p
        WHERE p.tenant_id = OLD.tenant_id AND p.notify_channel = OLD.name);
BEGIN
    IF named IS NOT NULL THEN
        RAISE EXCEPTION 'channel %: the policy of % names it', OLD.name, named
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_channel_in_policy';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER alert_channel_in_policy BEFORE UPDATE OF name, removed_at ON alerts_alertchannel
    FOR EACH ROW WHEN (OLD.removed_at IS NULL AND (NEW.name <> OLD.name OR NEW.removed_at IS NOT NULL))
    EXECUTE FUNCTION guard_named_channel();
"""


class Migration(migrations.Migration):
    dependencies = (("alerts", "0002_guards"), ("releases", "0006_notify_channel"))
    operations = (migrations.RunSQL(GUARD),)
