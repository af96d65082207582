"""Leases on digests are rows, so that they need no session of the database."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("releases", "0011_verification_progress"),)
    operations = (
        migrations.CreateModel(
            name="BlobLease",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("resource", models.CharField(max_length=71)),
                ("holder", models.UUIDField()),
                ("exclusive", models.BooleanField()),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "indexes": [models.Index(fields=["resource"], name="blob_lease_of_resource")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("resource__regex", "^(sha256:[0-9a-f]{64}|scrub|removals)$")),
                        name="blob_lease_resource_known",
                    ),
                    models.UniqueConstraint(fields=("holder", "resource"), name="blob_lease_once"),
                ],
            },
        ),
    )
