"""The table of the processes that report themselves."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Process",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("web", "web process"), ("control", "control worker"), ("clock", "clock")],
                        max_length=10,
                    ),
                ),
                ("host", models.CharField(max_length=255)),
                ("pid", models.PositiveIntegerField()),
                ("version", models.CharField(max_length=100)),
                ("started_at", models.DateTimeField()),
                ("reported_at", models.DateTimeField()),
                ("drift_seconds", models.FloatField()),
                ("jobs", models.JSONField(null=True)),
            ],
            options={
                "ordering": ("kind", "host", "pid"),
                "constraints": [
                    models.UniqueConstraint(fields=("kind", "host", "pid"), name="process_once"),
                    models.CheckConstraint(
                        condition=Q(kind__in=["web", "control", "clock"]), name="process_kind_known"
                    ),
                ],
            },
        )
    ]
