"""An index on the times of schedules that were refused or missed. It is empty in most installations."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "0033_start_rates_indexes"),)
    operations = (
        # An interrupted build has left an invalid index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS schedule_fire_failed"),
        AddIndexConcurrently(
            "schedulefire",
            models.Index(
                condition=Q(state__in=["REFUSED", "MISSED"]),
                fields=["schedule", "created_at"],
                name="schedule_fire_failed",
            ),
        ),
    )
