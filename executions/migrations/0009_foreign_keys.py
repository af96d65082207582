"""Executions lose the foreign keys of their tenant and release, which their guards imply.

`guard_submission` locks the release of each new execution until the transaction ends, and requires that its pipeline
belongs to the tenant; `guard_execution` lets neither change. No release is ever removed (`release_not_deleted`), and no
tenant that has a pipeline, by the foreign key of the pipeline. The foreign keys locked both rows a second time for each
execution: 8 of 40 µs, and a write to the row of the tenant by each transaction.

The statement locks three tables. It waits for the first only, so it is in no deadlock with a query of the others:
`coordinator migrate` tries again. It waits for autovacuum first, which a lock without a wait would not end.
"""

from django.db import migrations, models
from django.db.models import PROTECT


class Migration(migrations.Migration):
    dependencies = (("executions", "0008_rows"),)
    operations = (
        migrations.RunSQL("LOCK TABLE releases_release, tenancy_tenant IN SHARE UPDATE EXCLUSIVE MODE"),
        migrations.RunSQL("LOCK TABLE executions_execution IN ACCESS EXCLUSIVE MODE"),
        migrations.RunSQL("LOCK TABLE releases_release, tenancy_tenant IN ACCESS EXCLUSIVE MODE NOWAIT"),
        *(
            migrations.AlterField(
                "execution",
                name,
                models.ForeignKey(
                    model, on_delete=PROTECT, related_name="executions", db_index=False, db_constraint=False
                ),
            )
            for name, model in (("tenant", "tenancy.tenant"), ("release", "releases.release"))
        ),
    )
