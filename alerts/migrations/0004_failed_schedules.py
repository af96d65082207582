"""A kind of rules that finds the times of schedules that were refused or missed."""

from django.db import migrations, models
from django.db.models import Q

KNOWN = "alert_rule_kind_known"
KINDS = [
    ("newFailureGroup", "New failure group"),
    ("failureRate", "Failure rate"),
    ("stranded", "Stranded work"),
    ("awaitDeadline", "Deadline of a question"),
    ("blobDamaged", "Damaged artifact"),
    ("workerLost", "Lost worker"),
    ("approvalWanted", "Approval wanted"),
    ("gradualWithdrawn", "Gradual activation withdrawn"),
    ("scheduleMissed", "Missed schedule"),
    ("scheduleFailed", "Failed schedule"),
]


class Migration(migrations.Migration):
    dependencies = (("alerts", "0003_named_channels"),)
    operations = (
        migrations.AlterField("alertrule", "kind", models.CharField(choices=KINDS, max_length=20)),
        migrations.RemoveConstraint("alertrule", KNOWN),
        migrations.AddConstraint(
            "alertrule", models.CheckConstraint(condition=Q(kind__in=[kind for kind, _ in KINDS]), name=KNOWN)
        ),
    )
