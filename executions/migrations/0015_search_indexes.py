"""Indexes for searches of executions. The index on keys becomes one by bytes, which also finds their beginning."""

import django.contrib.postgres.indexes
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("executions", "0014_question_claims"),)
    operations = (
        migrations.AlterField("execution", "execution_key", models.CharField(db_collation="C", max_length=1500)),
        migrations.AddIndex(
            "execution",
            models.Index(
                condition=models.Q(("status__in", ["CANCELLED", "DLQ", "FAILED"])),
                fields=["tenant", "status", "-created_at", "-id"],
                name="execution_unsuccessful",
            ),
        ),
        migrations.AddIndex(
            "execution",
            models.Index(
                condition=models.Q(("error_code__isnull", False)),
                fields=["tenant", "error_code", "-created_at", "-id"],
                name="execution_error",
            ),
        ),
        migrations.AddIndex(
            "execution",
            django.contrib.postgres.indexes.GinIndex(
                condition=models.Q(("tags__isnull", False)), fields=["tags"], name="execution_tags"
            ),
        ),
    )
