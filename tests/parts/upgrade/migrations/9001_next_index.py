"""An index, built while executions are submitted and run."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "9000_next_column"),)
    operations = (AddIndexConcurrently("execution", models.Index(fields=["next_column"], name="execution_next")),)
