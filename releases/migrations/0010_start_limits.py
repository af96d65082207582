"""The policy of a pipeline may change the numbers that limit how many of its executions start and are in progress."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = (("releases", "0009_recipients"),)
    operations = (
        migrations.AddField("pipeline", "concurrency_limit", models.PositiveIntegerField(blank=True, null=True)),
        migrations.AddField("pipeline", "rate_limit", models.PositiveIntegerField(blank=True, null=True)),
        *(
            migrations.AddConstraint(
                "pipeline",
                models.CheckConstraint(
                    condition=Q((column, None)) | Q((f"{column}__range", (1, 1000))), name=f"pipeline_{column}"
                ),
            )
            for column in ("concurrency_limit", "rate_limit")
        ),
    )
