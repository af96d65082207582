"""Guards of alert rules and their channels, of alerts, and of their messages."""

from django.db import migrations

RULES = """
CREATE TRIGGER alert_channel_starts AFTER INSERT ON alerts_alertchannel
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.removed_at IS NULL) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER alert_rule_starts AFTER INSERT ON alerts_alertrule
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.removed_at IS NULL) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
ALTER TABLE alerts_alertrule ADD CONSTRAINT alert_rule_thresholds CHECK (jsonb_typeof(thresholds) = 'object');

-- A rule is of a pipeline of its tenant.
CREATE FUNCTION guard_new_alert_rule() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.pipeline_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM releases_pipeline p WHERE p.id = NEW.pipeline_id AND p.tenant_id = NEW.tenant_id)
    THEN
        RAISE EXCEPTION 'alert rule: its pipeline is of another tenant'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_rule_own_pipeline';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER alert_rule_new BEFORE INSERT ON alerts_alertrule FOR EACH ROW EXECUTE FUNCTION guard_new_alert_rule();

CREATE FUNCTION guard_rule_channel() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM alerts_alertrule r JOIN alerts_alertchannel c ON c.tenant_id = r.tenant_id
        WHERE r.id = NEW.rule_id AND c.id = NEW.channel_id)
    THEN
        RAISE EXCEPTION 'rule channel: the rule and the channel are of different tenants'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'rule_channel_one_tenant';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER rule_channel_new BEFORE INSERT ON alerts_rulechannel FOR EACH ROW EXECUTE FUNCTION guard_rule_channel();
"""
ALERTS = """
CREATE FUNCTION guard_new_alert() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM alerts_alertrule r WHERE r.id = NEW.rule_id AND r.tenant_id = NEW.tenant_id) THEN
        RAISE EXCEPTION 'alert: its rule is of another tenant'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_own_tenant';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER alert_new BEFORE INSERT ON alerts_alert FOR EACH ROW EXECUTE FUNCTION guard_new_alert();

-- A resolved alert never changes. It may be removed a day after its end.
CREATE FUNCTION guard_alert() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.resolved_at < now() - interval '1 day' THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'alert %: it is kept for a day after its end', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_kept';
    END IF;
    IF OLD.state <> 'FIRING' THEN
        RAISE EXCEPTION 'alert %: it is resolved, so it never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_over_is_over';
    END IF;
    NEW.resolved_at := CASE WHEN NEW.state = 'RESOLVED' THEN now() END;
    RETURN NEW;
END $$;
CREATE TRIGGER alert_guard BEFORE UPDATE OR DELETE ON alerts_alert FOR EACH ROW EXECUTE FUNCTION guard_alert();
CREATE TRIGGER alert_not_truncated BEFORE TRUNCATE ON alerts_alert FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Events are removed with their alert only.
CREATE FUNCTION guard_alert_event() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM alerts_alert a WHERE a.id = OLD.alert_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'alert event %: it is append-only', OLD.id
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_event_append_only';
END $$;
CREATE TRIGGER alert_event_guard BEFORE UPDATE OR DELETE ON alerts_alertevent
    FOR EACH ROW EXECUTE FUNCTION guard_alert_event();
CREATE TRIGGER alert_event_not_truncated BEFORE TRUNCATE ON alerts_alertevent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
DELIVERIES = """
CREATE FUNCTION guard_new_alert_delivery() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM alerts_alertchannel c WHERE c.id = NEW.channel_id AND c.tenant_id = NEW.tenant_id)
        OR (NEW.alert_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM alerts_alert a WHERE a.id = NEW.alert_id AND a.tenant_id = NEW.tenant_id))
    THEN
        RAISE EXCEPTION 'alert delivery: its channel or its alert is of another tenant'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_delivery_own_tenant';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER alert_delivery_new BEFORE INSERT ON alerts_alertdelivery
    FOR EACH ROW EXECUTE FUNCTION guard_new_alert_delivery();

-- A message that was sent or given up never changes. It is removed with its alert, or a day after its end.
CREATE FUNCTION guard_alert_delivery() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.finished_at < now() - interval '1 day'
            OR (OLD.alert_id IS NOT NULL AND NOT EXISTS (SELECT FROM alerts_alert a WHERE a.id = OLD.alert_id))
        THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'alert delivery %: it is kept for a day after its end', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_delivery_kept';
    END IF;
    IF OLD.state <> 'PENDING' THEN
        RAISE EXCEPTION 'alert delivery %: it is over, so it never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_delivery_over_is_over';
    END IF;
    NEW.finished_at := CASE WHEN NEW.state <> 'PENDING' THEN now() END;
    RETURN NEW;
END $$;
CREATE TRIGGER alert_delivery_guard BEFORE UPDATE OR DELETE ON alerts_alertdelivery
    FOR EACH ROW EXECUTE FUNCTION guard_alert_delivery();
CREATE TRIGGER alert_delivery_not_truncated BEFORE TRUNCATE ON alerts_alertdelivery
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = (("alerts", "0001_tables"), ("releases", "0004_guards_requests"))
    operations = (migrations.RunSQL(RULES), migrations.RunSQL(ALERTS), migrations.RunSQL(DELIVERIES))
