"""The sweep finds executions that expire before their start, and those of low priority. Others are in neither index."""

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
)


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "0026_start_times"),)
    operations = (
        # An interrupted build has left an invalid index.
        *(migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}") for index in INDEXES),
        *(AddIndexConcurrently("execution", index) for index in INDEXES),
    )
