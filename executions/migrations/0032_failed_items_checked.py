"""Validates the constraint of resubmissions of items, which takes no lock that a query waits for."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = (("executions", "0031_failed_items"),)
    operations = (ValidateConstraint("resubmission", "resubmission_of_items"),)
