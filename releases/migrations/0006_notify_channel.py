"""The policy of a pipeline may name a channel that is told of the ends of its executions.

The guards are in the migration of `executions` that creates the messages.
"""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = (("releases", "0005_indexes"),)
    operations = (
        migrations.AddField("pipeline", "notify_channel", models.CharField(blank=True, max_length=100, null=True)),
        migrations.AddField(
            "pipeline",
            "notify_ends",
            models.CharField(
                choices=[
                    ("all", "The channel is told of every end of an execution"),
                    ("failed", "The channel is told of failed executions"),
                ],
                db_default="all",
                default="all",
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            "pipeline",
            models.CheckConstraint(condition=Q(notify_ends__in=["all", "failed"]), name="pipeline_notify_ends_known"),
        ),
    )
