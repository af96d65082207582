"""Failures with an unknown outcome have their own reason."""

from django.db import migrations, models

REASONS = (
    ("retry_exhausted", "Retry Exhausted"),
    ("non_retryable", "Non Retryable"),
    ("await_timeout", "Await Timeout"),
    ("await_failed", "Await Failed"),
    ("leases_lost", "Leases Lost"),
    ("release_revoked", "Release Revoked"),
    ("outcome_unknown", "Outcome Unknown"),
)


class Migration(migrations.Migration):
    dependencies = (("executions", "0022_validate_traceparent"),)
    operations = (migrations.AlterField("deadletter", "reason", models.CharField(choices=REASONS, max_length=30)),)
