"""Indexes that no statement needs are dropped, and the index of live executions contains what their counts read.

A query and the check of a foreign key use the index that begins with the dropped one's columns as well.

| index of | what is left |
|---|---|
| campaign of campaign items | the unique `campaign_item_once` |
| execution of dead letters | the unique `dead_letter_once` |
| tenant of dead letters | `dead_letter_newest` |
| tenant of worker key changes | the unique `worker_key_change_once` |
| tenant of await units | nothing: no statement finds them by tenant, and pipelines keep their tenant from being removed |
| `execution_live_by_release` | `execution_live`, which has the same rows and begins with the release, too |
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models import Q

from foundation.database.drop_index import DropIndexOfForeignKey


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "0006_guards_campaigns"),)
    operations = (
        # An interrupted build has left an invalid index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS execution_live"),
        AddIndexConcurrently(
            "execution",
            models.Index(
                fields=["release", "status", "smoke"],
                condition=~Q(status__in=["CANCELLED", "DLQ", "FAILED", "SUCCEEDED"]),
                name="execution_live",
            ),
        ),
        RemoveIndexConcurrently("execution", "execution_live_by_release"),
        DropIndexOfForeignKey("awaitunit", "tenant"),
        DropIndexOfForeignKey("campaignitem", "campaign"),
        DropIndexOfForeignKey("deadletter", "execution"),
        DropIndexOfForeignKey("deadletter", "tenant"),
        DropIndexOfForeignKey("workerkeychange", "tenant"),
    )
