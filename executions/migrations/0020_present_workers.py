"""A heartbeat finds its worker by an index that contains its name.

`worker_present` replaces `worker_not_stopped`, which did not: if a pipeline had a larger share of the workers than
others, each heartbeat of one of them read all of them.
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "0019_hosted_releases"),)
    operations = (
        # An interrupted build has left an invalid index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS worker_present"),
        AddIndexConcurrently(
            "worker",
            models.Index(
                fields=["tenant", "pipeline_id", "worker_id"], condition=Q(stopped_at=None), name="worker_present"
            ),
        ),
        RemoveIndexConcurrently("worker", "worker_not_stopped"),
    )
