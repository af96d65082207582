"""The processes of the coordinator, as they report themselves."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from coordinator import processes


class Process(models.Model):
    """A web process, control worker or clock as it last reported itself. Rows without reports are soon removed.

    `reported_at` is by the database's clock. `drift_seconds` is how far the clock of the process is ahead of it. `jobs`
    has the last run of each periodic job, by the database's clock; null for processes that run none.
    """

    Kind: ClassVar = processes.Kind

    kind = models.CharField(max_length=10, choices=processes.Kind.choices())
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    version = models.CharField(max_length=100)
    started_at = models.DateTimeField()
    reported_at = models.DateTimeField()
    drift_seconds = models.FloatField()
    jobs = models.JSONField(null=True)

    class Meta:
        ordering = ("kind", "host", "pid")
        constraints = (
            models.UniqueConstraint(fields=("kind", "host", "pid"), name="process_once"),
            models.CheckConstraint(condition=Q(kind__in=["web", "control", "clock"]), name="process_kind_known"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.pid}@{self.host}"
