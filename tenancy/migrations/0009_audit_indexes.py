"""Indexes for searches of the audit log by actor, object, request, outcome and time; the name of members on pages."""

from django.contrib.postgres.indexes import HashIndex, OpClass
from django.db import migrations, models
from django.db.models.functions import Left


class Migration(migrations.Migration):
    dependencies = (("tenancy", "0008_preferences"),)
    operations = (
        migrations.AlterModelOptions(
            "membership", options={"ordering": ("tenant", "user", "role"), "verbose_name": "member"}
        ),
        migrations.AddIndex("auditentry", models.Index(fields=["tenant", "actor", "-sequence"], name="audit_actor")),
        migrations.AddIndex(
            "auditentry", models.Index(OpClass(Left("object", 200), name="text_pattern_ops"), name="audit_object")
        ),
        migrations.AddIndex("auditentry", HashIndex(fields=["request_id"], name="audit_request")),
        migrations.AddIndex("auditentry", models.Index(fields=["at"], name="audit_time")),
        migrations.AddIndex(
            "auditentry",
            models.Index(
                condition=models.Q(("outcome__in", ["denied", "failed"])),
                fields=["tenant", "-sequence"],
                name="audit_refused",
            ),
        ),
    )
