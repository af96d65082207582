"""The workers that run executions, and what became of them."""

from django.db import models
from django.db.models import Q

from coordinator.tenancy.models import Tenant
from releases.models import IDENTITY_LENGTH


class Worker(models.Model):
    """A transition worker as its last heartbeat told of it. Its state is read off by `worker_registry`.

    A worker drains because it said so (`draining_since`), or because an operator wants it to
    (`drained_by_operator_at`), which no heartbeat undoes. `noted_state` is the state in its newest event. `endpoint` is
    where a REST worker is called; others have none.

    The worker reports `taking` (whether it takes commands), `holding` (how many it has in hand), how many of these are
    `running`, and how many are `abandoned`: they keep a thread though their lease is lost. The rest waits for a thread.
    `transition_seconds` is how long one takes it on average.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="workers")
    pipeline_id = models.CharField(max_length=IDENTITY_LENGTH)
    contract_version = models.CharField(max_length=IDENTITY_LENGTH)
    release_version = models.CharField(max_length=IDENTITY_LENGTH)
    worker_id = models.CharField(max_length=200)
    protocol = models.CharField(max_length=20, default="celery")
    endpoint = models.CharField(max_length=2000, blank=True, default="")
    artifact_id = models.CharField(max_length=IDENTITY_LENGTH, blank=True)
    artifact_digest = models.CharField(max_length=IDENTITY_LENGTH, blank=True)
    capacity = models.PositiveIntegerField()
    taking = models.BooleanField(default=True)
    holding = models.PositiveIntegerField(default=0)
    running = models.PositiveIntegerField(default=0)
    abandoned = models.PositiveIntegerField(default=0)
    transition_seconds = models.FloatField(null=True)
    registered_at = models.DateTimeField()
    last_heartbeat_at = models.DateTimeField()
    last_sent_at = models.DateTimeField()
    draining_since = models.DateTimeField(null=True)
    drained_by_operator_at = models.DateTimeField(null=True)
    stopped_at = models.DateTimeField(null=True)
    noted_state = models.CharField(max_length=12, default="")

    class Meta:
        ordering = ("pipeline_id", "worker_id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "pipeline_id", "worker_id"), name="worker_once"),
            models.CheckConstraint(condition=Q(capacity__gte=1), name="worker_capacity_positive"),
        )

    def __str__(self) -> str:
        return self.worker_id


class WorkerEvent(models.Model):
    """One change of a worker's state, append-only."""

    worker = models.ForeignKey(Worker, on_delete=models.PROTECT, related_name="events")
    state = models.CharField(max_length=12)
    actor = models.CharField(max_length=200)
    data = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.worker} {self.state}"
