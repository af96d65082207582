"""Pipelines say whether calls with an unknown outcome are retried."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("releases", "0012_blob_leases"),)
    operations = (
        migrations.AddField(
            model_name="pipeline",
            name="repeat_unknown_outcomes",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Whether a call of a REST worker runs again although the worker may have carried it out.",
            ),
        ),
    )
