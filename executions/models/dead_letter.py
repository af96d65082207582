"""Dead letters, and the query of rows that belong to executions."""

from typing import Any, Self, TypeVar

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import F, Func, Prefetch, QuerySet
from django.db.models.query import ModelIterable

from executions.models.execution import PAYLOADS, Execution, read_business_keys
from releases.step_names import Step
from tenancy.models import Tenant

Row = TypeVar("Row", bound=models.Model)


class OfExecutions(QuerySet[Row]):
    """Rows that belong to executions."""

    def with_executions(self) -> Self:
        """Return the rows with their executions, the business keys of these, and tenants, without payloads.

        A second query reads the executions. A join would read those of all rows that match, before LIMIT. If executions
        were removed in between, the rows are read again.
        """
        executions = Execution.objects.select_related("tenant").defer(*PAYLOADS)
        return self.select_related("tenant").prefetch_related(Prefetch("execution", executions))

    def _fetch_all(self) -> None:
        unread = self._result_cache is None
        super()._fetch_all()
        query: Any = self  # the stubs lack its parts
        prefetched = query._iterable_class is ModelIterable and query._prefetch_related_lookups
        while prefetched and not all(hasattr(row, "execution") for row in self._result_cache or ()):
            self._result_cache, self._prefetch_done = None, False
            super()._fetch_all()
        if unread and prefetched:
            read_business_keys([row.execution for row in self._result_cache or ()])  # type: ignore[attr-defined]


class DeadLetter(models.Model):
    """The record of one terminal failure of an execution, append-only.

    `step_index` is the step at which the failed transition started. `retries_observed` is the number of the failed
    attempt, from 0. A trigger sets `failed_step_index`, the step that failed as far as the worker reported it, and
    `group`, which is null for smoke tests.
    """

    class Reason(models.TextChoices):
        RETRY_EXHAUSTED = "retry_exhausted"
        NON_RETRYABLE = "non_retryable"
        AWAIT_TIMEOUT = "await_timeout"
        AWAIT_FAILED = "await_failed"
        LEASES_LOST = "leases_lost"
        RELEASE_REVOKED = "release_revoked"
        OUTCOME_UNKNOWN = "outcome_unknown"

        @property
        def is_retryable(self) -> bool:
            """True if the same transition may succeed when it runs again."""
            return self in {self.RETRY_EXHAUSTED, self.AWAIT_FAILED, self.LEASES_LOST}

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="dead_letters", db_index=False)
    execution = models.ForeignKey(Execution, on_delete=models.PROTECT, related_name="dead_letters", db_index=False)
    execution_version = models.BigIntegerField()
    transition_key = models.CharField(max_length=200)
    terminal_status = models.CharField(max_length=20)
    reason = models.CharField(max_length=30, choices=Reason)
    error_code = models.CharField(max_length=100)
    error_message = models.CharField(max_length=512)
    retryable = models.BooleanField()
    retries_observed = models.IntegerField()
    step_index = models.IntegerField()
    failed_step_index = models.IntegerField()
    fingerprint = models.GeneratedField(
        expression=Func(F("error_code"), F("error_message"), function="failure_fingerprint"),
        output_field=models.CharField(max_length=32),
        db_persist=True,
    )
    group = models.ForeignKey(
        "FailureGroup", on_delete=models.PROTECT, null=True, related_name="letters", db_index=False
    )
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    objects = OfExecutions.as_manager()

    class Meta:
        verbose_name = "failure"
        verbose_name_plural = "all failures"
        ordering = ("-created_at", "-id")
        constraints = (models.UniqueConstraint(fields=("execution", "execution_version"), name="dead_letter_once"),)
        indexes = (
            models.Index(fields=("tenant", "-created_at", "-id"), name="dead_letter_newest"),
            models.Index(fields=("group", "-created_at", "-id"), name="dead_letter_of_group"),
        )

    def __str__(self) -> str:
        return f"{self.error_code} of {self.execution_id}"

    @property
    def step(self) -> Step:
        """The step that failed. Needs the execution."""
        return self.execution.step_at(self.failed_step_index)
