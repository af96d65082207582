"""Searches for what a person submitted read an index. Submissions with tokens do not write to it."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = (("executions", "0018_names"),)
    operations = (
        migrations.AddIndex(
            "execution",
            models.Index(
                fields=["tenant", "submitted_by", "-created_at", "-id"],
                condition=Q(submitted_by__startswith="user:"),
                name="execution_by_person",
            ),
        ),
    )
