"""The indexes of executions that say when they start, and of concurrency keys. Other executions are in none of them.

| new index | what reads it |
|---|---|
| `execution_expiring` | the sweep, for executions that did not start in time |
| `execution_low` | the sweep, for executions of low priority |
| `execution_place` | decisions about the places of a key |
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q

INDEXES = (
    models.Index(
        fields=["expires_at"],
        condition=Q(expires_at__isnull=False, status="QUEUED", version=0),
        name="execution_expiring",
    ),
    models.Index(
        fields=["release", "next_due_at"],
        condition=Q(priority__lt=0, status__in=["QUEUED", "WAIT_RETRY"], held=False),
        name="execution_low",
    ),
    models.Index(
        fields=["tenant", "pipeline_id", "concurrency_key", "next_due_at", "id"],
        condition=Q(concurrency_key__isnull=False, finished_at=None),
        name="execution_place",
    ),
)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "0026_start"),)
    operations = (
        # An interrupted build has left an invalid index.
        *(migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}") for index in INDEXES),
        *(AddIndexConcurrently("execution", index) for index in INDEXES),
    )
