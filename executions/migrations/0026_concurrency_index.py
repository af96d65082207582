"""The places of a key are counted, and the executions that wait for one are found, by an index without any other."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q

INDEX = models.Index(
    fields=["tenant", "pipeline_id", "concurrency_key", "next_due_at", "id"],
    condition=Q(concurrency_key__isnull=False, finished_at=None),
    name="execution_place",
)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "0026_concurrency"),)
    operations = (
        # An interrupted build has left an invalid index.
        migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX.name}"),
        AddIndexConcurrently("execution", INDEX),
    )
