"""The indexes of children and of what is to be told to relatives. Other executions are in none of them.

| new index | what reads it |
|---|---|
| `execution_child` | the children of an execution |
| `execution_family_due` | the ends that a parent must be told, and the cancelled executions with children |
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q

INDEXES = (
    models.Index(fields=["parent_id", "id"], condition=Q(parent_id__isnull=False), name="execution_child"),
    models.Index(fields=["family_due_at"], condition=Q(family_due_at__isnull=False), name="execution_family_due"),
)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "0036_children"),)
    operations = (
        # An interrupted build has left an invalid index.
        *(migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}") for index in INDEXES),
        *(AddIndexConcurrently("execution", index) for index in INDEXES),
    )
