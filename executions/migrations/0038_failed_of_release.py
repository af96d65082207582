"""The first failures of a release are read in their order, with any number of failures of its tenant.

| new index | what reads it | the old one |
|---|---|---|
| `execution_failed_of_release` | what that one read, and the check of a recovery | `execution_dead_of_release`, which had no order |
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models import Q

INDEX = models.Index(
    fields=["release", "finished_at", "id"],
    include=["status", "tenant", "smoke", "error_code"],
    condition=Q(status__in=["DLQ", "FAILED"]),
    name="execution_failed_of_release",
)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "0037_children_indexes"),)
    operations = (
        # An interrupted build has left an invalid index.
        migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX.name}"),
        AddIndexConcurrently("execution", INDEX),
        RemoveIndexConcurrently("execution", "execution_dead_of_release"),
    )
