"""Validates the constraints on trace contexts: a scan of each table, which makes no query wait."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = (("executions", "0021_await_traceparent"),)
    operations = (
        ValidateConstraint("execution", "execution_traceparent_form"),
        ValidateConstraint("awaitunit", "await_unit_traceparent_form"),
    )
