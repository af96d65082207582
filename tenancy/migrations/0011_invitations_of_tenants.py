"""An invitation is of a tenant that exists. Locks the tenants alone, so it is a separate migration."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("tenancy", "0010_invitations"),)
    operations = (
        migrations.AlterField(
            "Invitation",
            "tenant",
            models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenancy.tenant"
            ),
        ),
    )
