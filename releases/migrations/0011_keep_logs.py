"""The policy of a pipeline says whether the lines that its steps log and print are kept."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("releases", "0010_start_limits"),)
    operations = (migrations.AddField("pipeline", "keep_logs", models.BooleanField(db_default=True, default=True)),)
