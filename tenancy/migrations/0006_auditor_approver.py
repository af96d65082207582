"""Adds the roles auditor and approver, and the scopes that they hold."""

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models
from django.db.models import Q

ROLES = [
    ("viewer", "Viewer"),
    ("auditor", "Auditor"),
    ("approver", "Approver"),
    ("operator", "Operator"),
    ("on-call", "On-call"),
    ("release-manager", "Release manager"),
    ("tenant-admin", "Tenant admin"),
]
SCOPES = (
    *("read", "payloads:read", "executions:submit", "executions:operate", "interactions:complete", "artifacts:read"),
    *("releases:register", "releases:activate", "releases:vote", "releases:roll-back", "audit:read"),
    "tenant:administer",
)
KNOWN = "membership_role_known"


class Migration(migrations.Migration):
    dependencies = (("tenancy", "0005_groups"),)
    operations = (
        migrations.AlterField("membership", "role", models.CharField(choices=ROLES, max_length=20)),
        migrations.AlterField(
            "apitoken",
            "scopes",
            ArrayField(models.CharField(choices=[(scope, scope) for scope in SCOPES], max_length=40)),
        ),
        migrations.RemoveConstraint("membership", KNOWN),
        migrations.AddConstraint(
            "membership", models.CheckConstraint(condition=Q(role__in=[role for role, _ in ROLES]), name=KNOWN)
        ),
    )
