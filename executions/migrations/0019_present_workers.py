"""A heartbeat finds its worker, and a claim the due releases of present workers, whatever else there is.

`worker_present` replaces `worker_not_stopped`, which did not contain the name of the worker: if a pipeline had a larger
share of the workers than others, each heartbeat of one of them read all of them.

The function is for claims while many releases have due work but no worker. As a part of the statement it would be
prepared at each claim, which took 8 % of the time of one that finds nothing due. A session plans it when it is called.
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models import Q

HOSTED = """
CREATE OR REPLACE FUNCTION hosted_due_releases() RETURNS SETOF bigint LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT h.release_id FROM (SELECT DISTINCT v.release_id FROM executions_workereligibility v WHERE v.present) h
    WHERE (SELECT e.next_due_at FROM executions_execution e
        WHERE e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held AND e.release_id = h.release_id
        ORDER BY e.next_due_at LIMIT 1) <= now();
END $$;
"""


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "0018_drafting_checked"),)
    operations = (
        migrations.RunSQL(HOSTED),
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
