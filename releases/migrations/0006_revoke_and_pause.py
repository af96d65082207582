"""Adds the order `pause` for the open executions of a revoked release."""

from django.db import migrations, models
from django.db.models import Q

ORDERS = ("leave", "pause", "fail")


class Migration(migrations.Migration):
    dependencies = (("releases", "0005_worker_gate"),)
    operations = (
        migrations.AlterField(
            "revocation",
            "open_executions",
            models.CharField(
                choices=[(each, each.capitalize()) for each in ORDERS],
                db_default="leave",
                default="leave",
                max_length=10,
            ),
        ),
        migrations.RemoveConstraint("revocation", "revocation_order_known"),
        migrations.AddConstraint(
            "revocation",
            models.CheckConstraint(condition=Q(open_executions__in=list(ORDERS)), name="revocation_order_known"),
        ),
    )
