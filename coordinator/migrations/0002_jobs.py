"""The clock reports when it last ran each of its jobs."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("coordinator", "0001_processes"),)
    operations = (migrations.AddField("process", "jobs", models.JSONField(null=True)),)
