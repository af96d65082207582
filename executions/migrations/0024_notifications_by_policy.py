"""The channel that a pipeline's policy names gets a message at the ends of the pipeline's executions.

An execution notes at its submission that the policy names a channel, so that the ends of all others look up nothing.
Which channel gets the message, and at which ends, is the policy of the moment at which the execution ends.

A channel that a policy names exists: its name and its removal wait for the policy. Both guards lock the channel.
"""

from django.db import migrations, models

POLICIES = """
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
ENDS = """
-- The channel that the policy of a pipeline tells of an end with this status, or null.
CREATE FUNCTION policy_channel(of_tenant bigint, of_pipeline text, ended text) RETURNS uuid LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT c.id FROM releases_pipeline p
    JOIN alerts_alertchannel c ON c.tenant_id = p.tenant_id AND c.name = p.notify_channel AND c.removed_at IS NULL
    WHERE p.tenant_id = of_tenant AND p.pipeline_id = of_pipeline
        AND (p.notify_ends = 'all' OR ended IN ('FAILED', 'DLQ'))
$$;
CREATE OR REPLACE FUNCTION notify_of_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO public.executions_notification (tenant_id, execution_id, channel_id, document)
    SELECT NEW.tenant_id, NEW.id, told.channel_id, jsonb_build_object(
        'executionId', NEW.id,
        'pin', jsonb_build_object('pipelineId', NEW.pipeline_id, 'contractVersion', NEW.contract_version,
            'releaseVersion', NEW.release_version),
        'status', NEW.status,
        'finishedAt', to_char(NEW.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
    FROM (SELECT NEW.notify AS channel_id UNION SELECT public.policy_channel(NEW.tenant_id, NEW.pipeline_id, NEW.status)
        WHERE NEW.notify_by_policy) told
    WHERE told.channel_id IS NOT NULL;
    RETURN NULL;
END $$;
DROP TRIGGER execution_end_notified ON executions_execution;
CREATE TRIGGER execution_end_notified AFTER UPDATE OF status ON executions_execution
    FOR EACH ROW WHEN ((NEW.notify IS NOT NULL OR NEW.notify_by_policy)
        AND NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL)
    EXECUTE FUNCTION notify_of_end();
DROP TRIGGER execution_notify_immutable ON executions_execution;
CREATE TRIGGER execution_notify_immutable BEFORE UPDATE OF notify, notify_by_policy ON executions_execution
    FOR EACH ROW WHEN (NEW.notify IS DISTINCT FROM OLD.notify
        OR NEW.notify_by_policy IS DISTINCT FROM OLD.notify_by_policy)
    EXECUTE FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = (
        ("executions", "0022_notifications"),
        ("alerts", "0002_guards"),
        ("releases", "0006_notify_channel"),
    )
    operations = (
        migrations.RunSQL(POLICIES),
        migrations.AddField("execution", "notify_by_policy", models.BooleanField(null=True)),
        migrations.RunSQL(ENDS),
    )
