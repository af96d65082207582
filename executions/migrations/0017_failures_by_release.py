"""Counts of the failures of a release read an index that has only those."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = (("executions", "0016_finished_counts"),)
    operations = (
        migrations.AddIndex(
            "execution",
            models.Index(
                fields=("release", "status"),
                include=("tenant", "smoke"),
                condition=Q(status__in=["DLQ", "FAILED"]),
                name="execution_dead_by_release",
            ),
        ),
    )
