"""A column that the previous version does not know. It inserts rows without it."""

from pathlib import Path

from django.db import migrations, models

import executions.migrations

PREVIOUS = max(file.stem for file in Path(executions.migrations.__path__[0]).glob("0*.py"))


class Migration(migrations.Migration):
    dependencies = (("executions", PREVIOUS),)
    operations = (
        migrations.AddField("execution", "next_column", models.CharField(max_length=100, db_default="", default="")),
    )
