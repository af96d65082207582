"""An index finds the audit entries of one tenant by their time.

| index | what reads it |
|---|---|
| `audit_time_of_tenant` | the filters of time of the API, and those of the admin in the log of one tenant |
| `audit_time` | the filters of time of the admin in the log of several tenants |
| `audit_act`, `audit_actor` | the filters by act and by actor |
| `audit_refused` | the filter of denied and of failed acts |
| `audit_object` | the filters by object, and the history of a release and of a pipeline |
| `audit_request` | the filter by request, and the page of an entry |
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("tenancy", "0003_indexes"),)
    operations = (
        # An interrupted build has left an invalid index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS audit_time_of_tenant"),
        AddIndexConcurrently(
            "auditentry",
            models.Index(fields=["tenant", "-at", "-sequence"], name="audit_time_of_tenant"),
        ),
    )
