"""Whose each session is. Sessions end with what they rest on: the password, the active user, and the last role."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

SESSIONS = """
ALTER TABLE tenancy_usersession ADD CONSTRAINT user_session_of_session
    FOREIGN KEY (session_id) REFERENCES django_session (session_key) ON DELETE CASCADE;

-- Ends the sessions of a user who has another password or is deactivated, in any way.
CREATE FUNCTION end_sessions_of_user() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    DELETE FROM django_session s USING tenancy_usersession u WHERE u.session_id = s.session_key AND u.user_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER user_sessions_end AFTER UPDATE OF password, is_active ON auth_user
    FOR EACH ROW WHEN (NEW.password <> OLD.password OR NOT NEW.is_active) EXECUTE FUNCTION end_sessions_of_user();

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
    dependencies = (
        ("tenancy", "0006_auditor_approver"),
        ("sessions", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    )
    operations = (
        migrations.CreateModel(
            "UserSession",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("address", models.CharField(max_length=64)),
                ("user_agent", models.CharField(max_length=300)),
                (
                    "session",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="usersession",
                        to="sessions.session",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.RunSQL(SESSIONS),
    )
