"""Pipelines say how long a release waits for repositories and registries that do not answer."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = (("releases", "0014_approved_steps"),)
    operations = (
        migrations.AddField(
            "pipeline",
            "verification_hours",
            models.PositiveIntegerField(
                db_default=24,
                default=24,
                help_text="How many hours after its upload a release waits for repositories and registries without an answer.",
            ),
        ),
        migrations.AddConstraint(
            "pipeline",
            models.CheckConstraint(condition=Q(verification_hours__range=(1, 720)), name="pipeline_verification_hours"),
        ),
    )
