"""Smoke tests: executions that try a release, append-only."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models

from executions.models.execution import Execution
from releases.models import Release


class SmokeTest(models.Model):
    """Says that `execution` is a smoke test of `release`, and which result is expected.

    `expected_result` is a list with the expected result, or null if any result passes. The row is part of the history
    of the execution and is removed with it. The queries of `governance.smoke_tests` add the verdict.
    """

    execution = models.OneToOneField(Execution, on_delete=models.PROTECT, primary_key=True, related_name="smoke_test")
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="smoke_tests", db_index=False)
    expected_result = models.JSONField(null=True)
    actor = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("-created_at", "-execution_id")
        indexes = (models.Index(fields=("release", "-created_at", "-execution"), name="smoke_test_newest"),)

    def __str__(self) -> str:
        return f"{self.execution_id} tests {self.release_id}"
