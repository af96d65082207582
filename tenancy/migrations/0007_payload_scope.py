"""Adds the scope payloads:read. Every token that has the scope read gets it, so that its requests still succeed."""

import django.contrib.postgres.fields
from django.db import migrations, models

FORWARD = """
UPDATE tenancy_apitoken SET scopes = ARRAY(SELECT s FROM unnest(scopes || '{payloads:read}') s ORDER BY s COLLATE "C")
WHERE 'read' = ANY(scopes) AND NOT 'payloads:read' = ANY(scopes)
"""
BACKWARD = "UPDATE tenancy_apitoken SET scopes = array_remove(scopes, 'payloads:read')"


class Migration(migrations.Migration):
    dependencies = (("tenancy", "0006_saved_views"),)
    operations = (
        migrations.AlterField(
            model_name="apitoken",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[
                        ("read", "read"),
                        ("payloads:read", "payloads:read"),
                        ("executions:submit", "executions:submit"),
                        ("executions:operate", "executions:operate"),
                        ("interactions:complete", "interactions:complete"),
                        ("artifacts:read", "artifacts:read"),
                        ("releases:register", "releases:register"),
                        ("releases:activate", "releases:activate"),
                        ("releases:roll-back", "releases:roll-back"),
                        ("tenant:administer", "tenant:administer"),
                    ],
                    max_length=40,
                ),
                size=None,
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
