"""The channel that a pipeline's policy names gets a message at the ends of the pipeline's executions.

An execution notes at its submission that the policy names a channel, so that the ends of all others look up nothing.
The policy at the end decides which channel gets a message, and whether this end has one.
"""

from django.db import migrations, models

ENDS = """
-- Returns the channel that gets a message about an end with this status by the policy of a pipeline, or null.
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
    SELECT NEW.tenant_id, NEW.id, receiver.channel_id, jsonb_build_object(
        'executionId', NEW.id,
        'pin', jsonb_build_object('pipelineId', NEW.pipeline_id, 'contractVersion', NEW.contract_version,
            'releaseVersion', NEW.release_version),
        'status', NEW.status,
        'finishedAt', to_char(NEW.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
    FROM (SELECT NEW.notify AS channel_id UNION SELECT public.policy_channel(NEW.tenant_id, NEW.pipeline_id, NEW.status)
        WHERE NEW.notify_by_policy) receiver
    WHERE receiver.channel_id IS NOT NULL;
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
        ("executions", "0023_search_values"),
        ("alerts", "0003_named_channels"),
        ("releases", "0006_notify_channel"),
    )
    operations = (
        migrations.AddField("execution", "notify_by_policy", models.BooleanField(null=True)),
        migrations.RunSQL(ENDS),
    )
