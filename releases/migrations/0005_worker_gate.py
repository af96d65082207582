"""Policies say whether an activation needs a worker. New pipelines require one, those that exist get a warning."""

from django.db import migrations, models

CHOICES = [
    ("require", "A release can be activated only if a worker may run it"),
    ("warn", "A release that no worker may run can be activated, with a warning"),
    ("off", "Activations do not check workers"),
]


class Migration(migrations.Migration):
    dependencies = (("releases", "0004_rollback"),)
    operations = (
        migrations.AddField(
            "pipeline", "worker_gate", models.CharField(choices=CHOICES, default="warn", max_length=10)
        ),
        migrations.AlterField(
            "pipeline", "worker_gate", models.CharField(choices=CHOICES, default="require", max_length=10)
        ),
        migrations.AddConstraint(
            "pipeline",
            models.CheckConstraint(
                condition=models.Q(worker_gate__in=["require", "warn", "off"]), name="pipeline_worker_gate_known"
            ),
        ),
    )
