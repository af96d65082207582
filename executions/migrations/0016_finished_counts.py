"""Counts of finished executions by release and minute."""

import django.db.models.deletion
from django.db import migrations, models

# The extracted second has a fraction.
FORWARD = """
ALTER TABLE executions_finishedcount
    ADD CONSTRAINT finished_count_of_a_minute CHECK (extract(second FROM minute) = 0);
"""
BACKWARD = "ALTER TABLE executions_finishedcount DROP CONSTRAINT finished_count_of_a_minute"


class Migration(migrations.Migration):
    dependencies = (("executions", "0015_search_indexes"), ("releases", "0010_requested_plans"))
    operations = (
        migrations.CreateModel(
            name="FinishedCount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("minute", models.DateTimeField()),
                ("succeeded", models.PositiveIntegerField()),
                ("failed", models.PositiveIntegerField()),
                ("cancelled", models.PositiveIntegerField()),
                (
                    "release",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="releases.release",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("minute", "release"), name="finished_count_once"),
                ],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
