"""A rule may look for pauses that last long."""

from django.db import migrations, models
from django.db.models import Q

from alerts.kinds import Kind


class Migration(migrations.Migration):
    dependencies = (("alerts", "0002_guards"),)
    operations = (
        migrations.AlterField("alertrule", "kind", models.CharField(max_length=20, choices=Kind.choices)),
        migrations.RemoveConstraint("alertrule", "alert_rule_kind_known"),
        migrations.AddConstraint(
            "alertrule", models.CheckConstraint(condition=Q(kind__in=Kind.values), name="alert_rule_kind_known")
        ),
    )
