"""Whose each session is. Sessions end with what they rest on: the password and the active user."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

SESSIONS = """
-- Ends the sessions of a user who has another password or is deactivated, in any way.
CREATE FUNCTION end_sessions_of_user() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    DELETE FROM django_session s USING tenancy_usersession u WHERE u.session_id = s.session_key AND u.user_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER user_sessions_end AFTER UPDATE OF password, is_active ON auth_user
    FOR EACH ROW WHEN (NEW.password <> OLD.password OR NOT NEW.is_active) EXECUTE FUNCTION end_sessions_of_user();
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
