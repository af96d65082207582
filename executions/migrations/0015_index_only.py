"""Counts and lists that grew with the number of failures and questions read an index alone.

| new index | what reads it | the old one |
|---|---|---|
| `execution_dead_of_release` | the counts of failures by release and error, and the previews of campaigns | `execution_dead_by_release`, which had no error |
| `interaction_open` | the lists of open questions of a tenant, and their count on each page | `interaction_pending`, which had no transport |
| `interaction_due` | the sweep, and the count of the open questions of several tenants | `interaction_deadline`, which had the deadline alone |
| `interaction_by_deadline` | the lists of all questions | none |
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models import Q

OPEN = Q(status__in=["WAITING", "DISPATCHING", "DISPATCHED"])
INDEXES = (
    (
        "execution",
        models.Index(
            fields=["release", "status"],
            include=["tenant", "smoke", "error_code"],
            condition=Q(status__in=["DLQ", "FAILED"]),
            name="execution_dead_of_release",
        ),
    ),
    (
        "interaction",
        models.Index(
            fields=["tenant", "deadline", "created_at", "id"],
            include=["transport"],
            condition=OPEN,
            name="interaction_open",
        ),
    ),
    (
        "interaction",
        models.Index(fields=["deadline"], include=["tenant", "transport"], condition=OPEN, name="interaction_due"),
    ),
    ("interaction", models.Index(fields=["tenant", "deadline", "created_at", "id"], name="interaction_by_deadline")),
)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "0014_row_checks_valid"),)
    operations = (
        # An interrupted build has left an invalid index.
        *(migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}") for _, index in INDEXES),
        *(AddIndexConcurrently(model, index) for model, index in INDEXES),
        RemoveIndexConcurrently("execution", "execution_dead_by_release"),
        RemoveIndexConcurrently("interaction", "interaction_pending"),
        RemoveIndexConcurrently("interaction", "interaction_deadline"),
    )
