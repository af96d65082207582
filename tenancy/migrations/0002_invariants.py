"""Functions that the guards of all apps use, and the guards of tenants and tokens."""

from django.conf import settings
from django.db import migrations

# Guards of new rows are triggers WHEN (condition) IS NOT TRUE. They reject rows for which the condition is false or
# null. The check is cheap, because no function runs for a row that passes.
FORWARD = """
CREATE FUNCTION refuse_insert() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'a new row of % has illegal initial values', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER tenant_starts AFTER INSERT ON tenancy_tenant
    FOR EACH ROW WHEN ((NEW.created_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();

-- Models of libraries send the time of the process. The database replaces it with its own.
CREATE FUNCTION stamp_admin_log() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.action_time := now();
    RETURN NEW;
END $$;
CREATE TRIGGER admin_log_stamped BEFORE INSERT ON django_admin_log
    FOR EACH ROW EXECUTE FUNCTION stamp_admin_log();

CREATE FUNCTION stamp_token() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.created := now();
    NEW.expiry := least(NEW.expiry, now() + interval '365 days');
    RETURN NEW;
END $$;
CREATE TRIGGER token_stamped BEFORE INSERT ON tenancy_apitoken FOR EACH ROW EXECUTE FUNCTION stamp_token();

-- A token's expiry may only move to an earlier time.
CREATE FUNCTION guard_token() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'token %: its expiry may only move to an earlier time', OLD.name
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER token_ends_earlier BEFORE UPDATE OF expiry ON tenancy_apitoken
    FOR EACH ROW WHEN (NEW.expiry > OLD.expiry) EXECUTE FUNCTION guard_token();
"""
BACKWARD = "DROP FUNCTION refuse_insert, stamp_admin_log, stamp_token, guard_token CASCADE;"


class Migration(migrations.Migration):
    dependencies = (
        ("tenancy", "0001_initial"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    )
    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
