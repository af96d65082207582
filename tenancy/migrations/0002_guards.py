"""Functions that the guards of all apps use, and the guards of tenants, tokens, roles and the audit log."""

from django.db import migrations

NEW_ROWS = """
-- Guards of new rows are triggers WHEN (condition) IS NOT TRUE. They reject rows for which the condition is false or
-- null. The check is cheap, because no function runs for a row that passes.
CREATE FUNCTION refuse_insert() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'a new row of % has illegal initial values', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER tenant_starts AFTER INSERT ON tenancy_tenant
    FOR EACH ROW WHEN ((NEW.created_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER saved_view_starts AFTER INSERT ON tenancy_savedview
    FOR EACH ROW WHEN ((NEW.created_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
"""
TIMES = """
-- Models of libraries send the time of the process. The database replaces it with its own.
CREATE FUNCTION stamp_admin_log() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.action_time := now();
    RETURN NEW;
END $$;
CREATE TRIGGER admin_log_stamped BEFORE INSERT ON django_admin_log FOR EACH ROW EXECUTE FUNCTION stamp_admin_log();

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
AUDIT_LOG = """
-- Each entry gets the next number of its chain, the database's time, and a hash that covers the previous one. The head is
-- locked until the transaction ends, so the numbers have no gap. The function runs with the owner's rights, because the
-- application may not write heads.
CREATE FUNCTION append_audit_entry() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO public.tenancy_audithead AS head (tenant_id, sequence, hash) VALUES (NEW.tenant_id, 1, '')
        ON CONFLICT (tenant_id) DO UPDATE SET sequence = head.sequence + 1
        RETURNING head.sequence, head.hash INTO NEW.sequence, NEW.previous_hash;
    NEW.at := clock_timestamp();
    NEW.hash := encode(sha256(convert_to(array_to_json(ARRAY[
        coalesce((SELECT slug FROM public.tenancy_tenant WHERE id = NEW.tenant_id), ''),
        NEW.sequence::text,
        to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        NEW.actor, NEW.act, NEW.object_type, NEW.object, NEW.outcome, NEW.reason, NEW.request_id, NEW.address,
        NEW.details, NEW.previous_hash]::text[])::text, 'UTF8')), 'hex');
    UPDATE public.tenancy_audithead SET hash = NEW.hash WHERE tenant_id IS NOT DISTINCT FROM NEW.tenant_id;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_entry_appended BEFORE INSERT ON tenancy_auditentry
    FOR EACH ROW EXECUTE FUNCTION append_audit_entry();

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'entries of % are never changed or removed', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON tenancy_auditentry
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_not_truncated BEFORE TRUNCATE ON tenancy_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_head_not_deleted BEFORE DELETE ON tenancy_audithead
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_head_not_truncated BEFORE TRUNCATE ON tenancy_audithead
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

-- Only the trigger that appends an entry moves its head.
CREATE TRIGGER audit_head_follows BEFORE UPDATE ON tenancy_audithead
    FOR EACH ROW WHEN (pg_trigger_depth() < 1) EXECUTE FUNCTION refuse_audit_change();
"""
QUOTAS = """
-- Both functions lock the row of the tenant, so grants are made one after another. Each statement of a function sees
-- what was committed before it began, so a count that follows the lock misses no execution of a grant that has ended.

-- Grants up to p_wished submissions of the current second, and at least p_needed if that many are left. A grant that is
-- larger than needed is at most a quarter of what is left. Returns the grant, and the seconds until the second is over.
CREATE FUNCTION grant_submissions(p_tenant bigint, p_limit bigint, p_needed bigint, p_wished bigint)
RETURNS TABLE (permits bigint, seconds float8)
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    began timestamptz := clock_timestamp();
    a tenancy_allowance;
    v_free bigint;
BEGIN
    INSERT INTO tenancy_allowance (tenant_id, second, granted, settled, counted_at)
        VALUES (p_tenant, 'epoch', 0, 0, 'epoch') ON CONFLICT DO NOTHING;
    SELECT * INTO a FROM tenancy_allowance WHERE tenant_id = p_tenant FOR UPDATE;
    IF a.second < date_trunc('second', clock_timestamp()) THEN
        a.second := date_trunc('second', clock_timestamp());
        a.granted := 0;
    END IF;
    v_free := greatest(p_limit - a.granted, 0);
    permits := least(v_free, greatest(p_needed, least(p_wished, v_free / 4)));
    UPDATE tenancy_allowance SET second = a.second, granted = a.granted + permits WHERE tenant_id = p_tenant;
    seconds := extract(epoch FROM a.second + interval '1 second' - began);
    RETURN NEXT;
END $$;

-- Ends the grants p_ended, of which p_used executions were inserted. Then grants open executions as the other function
-- does. It counts the open executions again if the last count is five seconds old, and earlier if little is left.
CREATE FUNCTION grant_open_executions(
    p_tenant bigint, p_limit bigint, p_needed bigint, p_wished bigint, p_ended uuid[], p_used bigint, p_id uuid)
RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    a tenancy_allowance;
    v_held bigint;
    v_free bigint;
    v_permits bigint;
BEGIN
    INSERT INTO tenancy_allowance (tenant_id, second, granted, settled, counted_at)
        VALUES (p_tenant, 'epoch', 0, 0, 'epoch') ON CONFLICT DO NOTHING;
    SELECT * INTO a FROM tenancy_allowance WHERE tenant_id = p_tenant FOR UPDATE;
    DELETE FROM tenancy_grant WHERE tenant_id = p_tenant AND (id = ANY (p_ended) OR expires_at < clock_timestamp());
    a.settled := a.settled + p_used;
    SELECT coalesce(sum(g.permits), 0) INTO v_held FROM tenancy_grant g WHERE g.tenant_id = p_tenant;
    v_free := p_limit - a.settled - v_held;
    IF p_needed > 0 AND a.counted_at < (clock_timestamp() - CASE WHEN v_free < p_needed THEN interval '0.1 seconds'
            WHEN v_free < p_limit / 2 THEN interval '1 second' ELSE interval '5 seconds' END) THEN
        SELECT count(*) INTO a.settled FROM (
            SELECT FROM releases_pipeline p JOIN releases_release r ON r.pipeline_id = p.id
            JOIN executions_execution e ON e.release_id = r.id
            WHERE p.tenant_id = p_tenant AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED')
            LIMIT p_limit) AS open;
        -- There may be more than the limit. Then a higher limit needs another count.
        a.counted_at := CASE WHEN a.settled < p_limit THEN clock_timestamp() ELSE 'epoch' END;
        v_free := p_limit - a.settled - v_held;
    END IF;
    v_free := greatest(v_free, 0);
    v_permits := least(v_free, greatest(p_needed, least(p_wished, v_free / 4)));
    IF v_permits > 0 THEN
        INSERT INTO tenancy_grant (id, tenant_id, permits, expires_at)
            VALUES (p_id, p_tenant, v_permits, clock_timestamp() + interval '30 seconds');
    END IF;
    UPDATE tenancy_allowance SET settled = a.settled, counted_at = a.counted_at WHERE tenant_id = p_tenant;
    RETURN v_permits;
END $$;
"""
INVITATIONS = """
-- 7309 is the class of these locks. A name has one: a role is given either before the user gets the name, and then the
-- second function finds the row, or afterwards, and then the first one finds the user. Each statement of a function sees
-- what was committed before it began. The second function runs with the owner's rights, because the application may not
-- change whose a membership is. Its entries are in the installation's chain, so that no tenant learns of the user.
CREATE FUNCTION give_role_to_user() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_user auth_user.id%TYPE;
BEGIN
    PERFORM pg_advisory_xact_lock(7309, hashtext(NEW.invited));
    SELECT id INTO v_user FROM auth_user WHERE username = NEW.invited AND is_active;
    IF FOUND THEN
        NEW.user_id := v_user;
        NEW.invited := '';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER membership_by_name BEFORE INSERT ON tenancy_membership
    FOR EACH ROW WHEN (NEW.user_id IS NULL) EXECUTE FUNCTION give_role_to_user();

CREATE FUNCTION give_invited_roles() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7309, hashtext(NEW.username));
    DELETE FROM public.tenancy_membership m USING public.tenancy_membership held
        WHERE m.invited = NEW.username AND m.user_id IS NULL
            AND (held.user_id, held.tenant_id, held.role) = (NEW.id, m.tenant_id, m.role);
    WITH given AS (
        UPDATE public.tenancy_membership SET user_id = NEW.id, invited = ''
            WHERE invited = NEW.username AND user_id IS NULL RETURNING id, tenant_id, role)
    INSERT INTO public.tenancy_auditentry
        (tenant_id, actor, act, object_type, object, outcome, reason, request_id, address, details)
        SELECT NULL, 'coordinator', 'membership.begin', 'membership', NEW.username, 'granted', '', '', '',
            '{"role":' || to_json(given.role) || ',"tenant":' || to_json(t.slug) || '}'
        FROM given JOIN public.tenancy_tenant t ON t.id = given.tenant_id ORDER BY given.id;
    RETURN NULL;
END $$;
CREATE TRIGGER user_gets_invited_roles AFTER INSERT OR UPDATE OF username, is_active ON auth_user
    FOR EACH ROW WHEN (NEW.is_active) EXECUTE FUNCTION give_invited_roles();
"""


class Migration(migrations.Migration):
    dependencies = (
        ("tenancy", "0001_tables"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
    )
    operations = (
        migrations.RunSQL(NEW_ROWS),
        migrations.RunSQL(TIMES),
        migrations.RunSQL(AUDIT_LOG),
        migrations.RunSQL(QUOTAS),
        migrations.RunSQL(INVITATIONS),
    )
