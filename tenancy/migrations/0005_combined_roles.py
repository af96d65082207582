"""A user may have several roles in a tenant. Adds the role on-call and the scope releases:roll-back."""

import django.contrib.postgres.fields
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenancy", "0004_audit"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="membership",
            options={"ordering": ("tenant", "user", "role")},
        ),
        migrations.RemoveConstraint(
            model_name="membership",
            name="membership_once",
        ),
        migrations.RemoveConstraint(
            model_name="membership",
            name="membership_role_known",
        ),
        migrations.AlterField(
            model_name="apitoken",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[
                        ("read", "read"),
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
        migrations.AlterField(
            model_name="membership",
            name="role",
            field=models.CharField(
                choices=[
                    ("viewer", "Viewer"),
                    ("operator", "Operator"),
                    ("on-call", "On-call"),
                    ("release-manager", "Release manager"),
                    ("tenant-admin", "Tenant admin"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.UniqueConstraint(fields=("user", "tenant", "role"), name="membership_once"),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.CheckConstraint(
                condition=models.Q(("role__in", ["viewer", "operator", "on-call", "release-manager", "tenant-admin"])),
                name="membership_role_known",
            ),
        ),
    ]
