"""Workers, their eligibility and their events."""

from typing import Final

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from releases.models import IDENTITY_LENGTH, Release
from tenancy.models import Tenant


class CodeOrigin(models.TextChoices):
    """Where a worker's code comes from, as the worker reports it."""

    ARTIFACT = "artifact", "the release's artifact"
    SOURCE = "source", "unverified: a folder"
    IMAGE = "image", "container image"


class Worker(models.Model):
    """A worker as its last heartbeat reported it. Its state is read from `eligibility`.

    A worker drains because it announced a drain (`draining_since`), or because an operator requested one
    (`drained_by_operator_at`), which no heartbeat ends. `noted_state` is the state in its newest event. `endpoint` is
    the address of a REST worker; others have none.

    The worker reports `taking` (whether it accepts commands), `holding` (how many transitions it holds), how many of
    these are `running`, and how many are `abandoned`: their outcomes no longer count, but they still occupy threads of
    its `capacity`. The others wait for a thread. `transition_seconds` is the average duration of a transition.

    `stopped_at` is when the worker stopped, or when the coordinator gave it up after a long silence. Since then it is a
    former worker, which no query for eligible workers reads, and which is removed later.

    `alive_until` is when the worker becomes STALE unless a heartbeat arrives, by the database's clock; null means
    never. `blocked_reason` says why the coordinator never calls the worker; it is empty if calls are allowed.
    `capability_checked_at` and `capability_error` store the newest answer of a REST worker on whether it hosts its
    release; an empty error means that it does. `capability_claimed_at` is when a process last started a check, and
    `unanswered_checks` how many checks in a row found no connection or no complete response.

    `code` says where the worker's code comes from; it is empty if the worker does not report it. `environment` has the
    members `python`, `platform`, `durablePipelines` (the version of that distribution; absent in rows of earlier
    coordinators), `differences` and `differenceCount`: how the worker's Python environment differs from
    the one that its artifact requires. It is null, and `environment_fingerprint` empty, if the worker does not report
    them.
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
    code = models.CharField(max_length=10, choices=CodeOrigin, blank=True, default="")
    environment_fingerprint = models.CharField(max_length=IDENTITY_LENGTH, blank=True, default="")
    environment = models.JSONField(null=True)
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
    alive_until = models.DateTimeField(null=True)
    blocked_reason = models.CharField(max_length=40, blank=True, default="")
    capability_checked_at = models.DateTimeField(null=True)
    capability_error = models.TextField(blank=True, default="")
    capability_claimed_at = models.DateTimeField(null=True)
    unanswered_checks = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ("pipeline_id", "worker_id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "pipeline_id", "worker_id"), name="worker_once"),
            models.CheckConstraint(condition=Q(capacity__gte=1), name="worker_capacity_positive"),
            models.CheckConstraint(condition=Q(code__in=["", *CodeOrigin.values]), name="worker_code_known"),
        )
        indexes = (
            # A heartbeat that found its worker by a shorter one would read all workers of a pipeline that has many.
            models.Index(
                fields=("tenant", "pipeline_id", "worker_id"), condition=Q(stopped_at=None), name="worker_present"
            ),
            models.Index(fields=("stopped_at",), condition=Q(stopped_at__isnull=False), name="worker_stopped"),
        )

    def __str__(self) -> str:
        return self.worker_id

    @property
    def difference_count(self) -> int:
        """How many differences from the required environment the worker reported."""
        return self.environment["differenceCount"] if self.environment else 0


class WorkerEligibility(models.Model):
    """A worker, the release that it names, and whether it may run that release. A view; nothing writes to it.

    `state` is HEALTHY, STALE, DRAINING or UNAVAILABLE. `present` is True unless the worker stopped or is a silent
    Celery worker. Only present workers run or admit anything: a query for such workers that names `present` reads no
    former workers. `reason` says why the worker gets no due work; it is null if the worker may run the release.
    `admits` is True if the worker allows new executions of the release to be accepted. The two differ only for a STALE
    REST worker: it admits no new executions, but runs accepted ones. `artifact_fits` is null if the
    worker names no artifact. `verdict` says whether the last check of a REST worker confirmed that it hosts its
    release; it is null if no verdict is valid, and for other workers. `lease_owner` is the name under which the worker
    holds leases.
    """

    ADMITTING: Final = Q(present=True, admits=True)
    """The condition for workers that admit new executions. It reads no former workers."""

    class State(models.TextChoices):
        HEALTHY = "HEALTHY"
        STALE = "STALE"
        DRAINING = "DRAINING"
        UNAVAILABLE = "UNAVAILABLE"

    class Reason(models.TextChoices):
        STOPPED = "STOPPED", "the worker stopped"
        PROTOCOL_NOT_SUPPORTED = "PROTOCOL_NOT_SUPPORTED", "the coordinator does not speak the worker's protocol"
        RELEASE_UNKNOWN = "RELEASE_UNKNOWN", "the worker names a release that is not registered"
        OTHER_ARTIFACT = "OTHER_ARTIFACT", "the worker's artifact is not one that the release pins"
        UNVERIFIED_CODE = (
            "UNVERIFIED_CODE",
            "the worker hosts code from a folder, which the pipeline's policy refuses",
        )
        DRAINED_BY_OPERATOR = "DRAINED_BY_OPERATOR", "an operator drained the worker"
        DRAINING = "DRAINING", "the worker is draining"
        SILENT = "SILENT", "the worker sends no heartbeats"
        ENDPOINT_NOT_ALLOWED = "ENDPOINT_NOT_ALLOWED", "REST_WORKER_ORIGINS does not name the origin of its endpoint"
        NO_FREE_THREAD = (
            "NO_FREE_THREAD",
            "all threads of the worker still run what was cancelled, taken over or timed out",
        )

    worker = models.OneToOneField(
        Worker, on_delete=models.DO_NOTHING, primary_key=True, related_name="eligibility", db_column="worker_id"
    )
    release = models.ForeignKey(Release, on_delete=models.DO_NOTHING, null=True, related_name="+")
    present = models.BooleanField()
    state = models.CharField(max_length=12, choices=State)
    reason = models.CharField(max_length=40, choices=Reason, null=True)
    admits = models.BooleanField()
    artifact_fits = models.BooleanField(null=True)
    verdict = models.BooleanField(null=True)
    lease_owner = models.CharField(max_length=200)

    class Meta:
        managed = False
        db_table = "executions_workereligibility"

    def __str__(self) -> str:
        return f"{self.worker} {self.state}"


class WorkerEvent(models.Model):
    """One change of a worker's state, append-only. It is removed with its worker."""

    worker = models.ForeignKey(Worker, on_delete=models.PROTECT, related_name="events")
    state = models.CharField(max_length=12)
    actor = models.CharField(max_length=200)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.worker} {self.state}"


class MessagePath(models.Model):
    """Records when a message last passed in time through the queue of heartbeats to a control worker. It has one row.

    If no message arrives until `expected_by`, heartbeats do not arrive in time either. The table is empty before the
    first message.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    arrived_at = models.DateTimeField()
    expected_by = models.DateTimeField()

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(id=1), name="message_path_once"),
            models.CheckConstraint(condition=Q(expected_by__gt=F("arrived_at")), name="message_path_expects_more"),
        )

    def __str__(self) -> str:
        return f"last message at {self.arrived_at}"


class OutcomePath(models.Model):
    """Records since when outcomes may wait in their queue. It has one row, or none before the first one waited.

    All outcomes that were sent before `unread_since` have been read. They are late from `expected_by` on, unless the
    row has changed by then. `began_at` is when the backlog began. All are null while nothing is known to wait.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    began_at = models.DateTimeField(null=True)
    unread_since = models.DateTimeField(null=True)
    expected_by = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(id=1), name="outcome_path_once"),
            models.CheckConstraint(
                condition=Q(began_at=None, unread_since=None, expected_by=None)
                | Q(
                    began_at__isnull=False,
                    unread_since__isnull=False,
                    expected_by__isnull=False,
                    began_at__lte=F("unread_since"),
                    expected_by__gt=F("unread_since"),
                ),
                name="outcome_path_expects_more",
            ),
        )

    def __str__(self) -> str:
        return f"outcomes unread since {self.unread_since}"


class WorkerKeyChange(models.Model):
    """One change of a tenant's worker keys, with the state after it. Changes are never updated or deleted.

    The generations from `oldest` to `newest` are active: one or two. In a tenant without changes, only generation 1 is
    active. Neither bound ever decreases, so a revoked key never becomes active again.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="worker_key_changes", db_index=False)
    number = models.PositiveIntegerField()
    newest = models.PositiveIntegerField()
    oldest = models.PositiveIntegerField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("tenant", "-number")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "number"), name="worker_key_change_once"),
            models.CheckConstraint(
                condition=Q(oldest__gte=1) & Q(newest__gte=F("oldest")) & Q(newest__lte=F("oldest") + 1),
                name="worker_key_two_active",
            ),
        )

    def __str__(self) -> str:
        return f"{self.tenant}: {self.oldest} to {self.newest}"
