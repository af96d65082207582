"""Sessions end with the last role. Locks the memberships alone, so it is a separate migration."""

from django.db import migrations

GUARD = """
-- Ends the sessions of a user who has lost the last role. A role in another tenant keeps them: no tenant ends the
-- sessions of another one's people by giving and taking a role. Pages check roles with each request in any case.
CREATE FUNCTION end_sessions_without_role() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    DELETE FROM django_session s USING tenancy_usersession u
    WHERE u.session_id = s.session_key AND u.user_id = OLD.user_id
        AND NOT EXISTS (SELECT FROM tenancy_membership m WHERE m.user_id = OLD.user_id)
        AND NOT EXISTS (SELECT FROM auth_user a WHERE a.id = OLD.user_id AND a.is_superuser);
    RETURN NULL;
END $$;
CREATE TRIGGER membership_sessions_end AFTER DELETE ON tenancy_membership
    FOR EACH ROW WHEN (OLD.user_id IS NOT NULL) EXECUTE FUNCTION end_sessions_without_role();
"""


class Migration(migrations.Migration):
    dependencies = (("tenancy", "0008_listed_sessions_exist"),)
    operations = (migrations.RunSQL(GUARD),)
