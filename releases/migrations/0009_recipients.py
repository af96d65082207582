"""The policy of a pipeline says whether only those may answer a question whom it names.

Pipelines of before this rule begin with `inform`, so that their questions can be answered as before. New pipelines begin with
`enforce`, also those that processes of the previous version add.
"""

from typing import Any

from django.db import migrations, models
from django.db.models import Q


def _column(begins_with: str) -> Any:
    return models.CharField(
        choices=[
            ("enforce", "Only the assignee and members with the group may answer"),
            ("inform", "The assignee and the group are shown, and others may answer"),
        ],
        db_default=begins_with,
        default="enforce",
        max_length=10,
    )


class Migration(migrations.Migration):
    dependencies = (("releases", "0008_step_policies"),)
    operations = (
        migrations.AddField("pipeline", "recipients", _column("inform")),
        migrations.AlterField("pipeline", "recipients", _column("enforce")),
        migrations.AddConstraint(
            "pipeline",
            models.CheckConstraint(condition=Q(recipients__in=["enforce", "inform"]), name="pipeline_recipients_known"),
        ),
    )
