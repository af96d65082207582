"""Checks the rows of old executions. Nothing waits for it: it reads the table, and locks no row."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "0013_row_checks"),)
    operations = (ValidateConstraint("execution", "execution_is_valid"),)
