"""The index by which the starts of a concurrency key are counted. Executions without a key are not in it."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q

INDEX = models.Index(
    fields=["tenant", "pipeline_id", "concurrency_key", "started_at", "next_due_at"],
    condition=Q(concurrency_key__isnull=False) & (Q(started_at__isnull=False) | Q(finished_at=None)),
    name="execution_start",
)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "0033_start_rates"),)
    operations = (
        # An interrupted build has left an invalid index.
        migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX.name}"),
        AddIndexConcurrently("execution", INDEX),
    )
