"""A person has groups in a tenant. Each membership of the person has the list."""

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = (("tenancy", "0004_audit_times"),)
    operations = (
        migrations.AddField(
            "membership",
            "groups",
            ArrayField(models.CharField(max_length=100), blank=True, db_default=[], default=list),
        ),
        migrations.AddConstraint(
            "membership",
            models.CheckConstraint(
                condition=~Q(groups__contains=[""]) & Q(groups__len__lte=50), name="membership_groups"
            ),
        ),
    )
