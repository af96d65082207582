"""A row of a session is removed with it. Locks the sessions alone, so it is a separate migration."""

from django.db import migrations

CONSTRAINT = """
ALTER TABLE tenancy_usersession ADD CONSTRAINT user_session_of_session
    FOREIGN KEY (session_id) REFERENCES django_session (session_key) ON DELETE CASCADE;
"""


class Migration(migrations.Migration):
    dependencies = (("tenancy", "0007_user_sessions"),)
    operations = (migrations.RunSQL(CONSTRAINT),)
