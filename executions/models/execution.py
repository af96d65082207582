"""Executions and their events.

`states` has the states and legal moves of an execution. Every move is one guarded UPDATE with its event in the same
statement: see `executions.state_machine.moves`. Triggers reject every change of the pin, every illegal move, and every
change of an event.
"""

import uuid
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import TransactionNow
from django.contrib.postgres.indexes import GinIndex
from django.db import connection, models
from django.db.models import F, Func, Q
from django.utils import timezone
from django.utils.functional import cached_property

from executions.models.states import DUE, TERMINAL, State
from releases.models import IDENTITY_LENGTH, Release
from releases.step_names import Step, step_at
from tenancy.models import Tenant
from wire.documents.concurrency import LONGEST_KEY
from wire.identity import ReleaseIdentity

RESUBMISSION_PREFIX: Final = "resubmit:"
"""How the keys of resubmissions begin. Callers may use such keys too, so only a link proves a resubmission."""

# Finds the execution that was submitted first, and its key, for each of the resubmissions. No row: it is no
# resubmission, or the execution that it resubmits was removed.
FIRST_KEYS = """
WITH RECURSIVE linked (id, origin) AS (
    SELECT r.new_execution_id, r.execution_id FROM executions_resubmission r WHERE r.new_execution_id = ANY(%(ids)s)
    UNION ALL
    SELECT l.id, r.execution_id FROM linked l JOIN executions_resubmission r ON r.new_execution_id = l.origin
)
SELECT l.id, e.execution_key FROM linked l JOIN executions_execution e ON e.id = l.origin
WHERE NOT EXISTS (SELECT FROM executions_resubmission r WHERE r.new_execution_id = l.origin)
"""


def first_keys(resubmissions: list[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Return the business keys of resubmissions by their ids. Without ids, nothing is read.

    Executions that resubmit none, or whose original was removed, have no entry.
    """
    if not resubmissions:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(FIRST_KEYS, {"ids": resubmissions})
        return dict(cursor.fetchall())


Row = TypeVar("Row", bound=models.Model)
TERMINAL_VALUES = sorted(state.value for state in TERMINAL)
LIVE_VALUES = sorted(state.value for state in State if state not in TERMINAL)
CLAIMED = "CLAIMED"
PERSON = "user:"
"""How the names of people begin who submit without a token."""
PAYLOADS = ("input", "result", "progress")
PAYLOADS_OF_EXECUTION = tuple(f"execution__{column}" for column in PAYLOADS)
"""What lists of rows that belong to executions do not read."""
MOST_TAGS = 20
LONGEST_TAG = 100
WAITS_FOR_PLACE = datetime(9000, 1, 1, tzinfo=UTC)
"""An execution that is due later has no place of its concurrency key yet."""
DUE_VALUES = sorted(state.value for state in DUE)

_COLUMNS_OF_RULES = (
    *("status", "version", "event_count", "current_step_index", "attempt", "progress", "progress_shape"),
    *("lease_owner", "lease_protocol", "lease_worker", "lease_token", "lease_expires_at", "running_since"),
    *("finished_at", "result", "await_unit", "tags", "traceparent"),
)
# Refuses a row that breaks a rule, under the name of the rule. PostgreSQL reads the text of a CHECK constraint again
# for each statement, so the rules are in a function: see migration 0013. The columns are passed one by one: for a whole
# row, PostgreSQL would read large payloads at each change.
VALID_ROW = Func(*map(F, _COLUMNS_OF_RULES), function="execution_is_valid", output_field=models.BooleanField())


class Execution(models.Model):
    """One submitted run of a pipeline, permanently pinned to `pipeline_id + contract_version + release_version`.

    `version` counts moves, `event_count` events. `attempt` counts failed runs and is never reset, so that a
    transition key never repeats; the retry budget counts from `budget_start`. `takeovers` counts the leases lost since
    the last outcome or checkpoint whose workers may have died.

    Exactly the RUNNING executions have a lease. `lease_owner` is the name under which it is held. `lease_protocol` is
    the transport that sends the command: `celery` or `rest`. `lease_worker` is the `worker_id` of the worker that holds
    the lease; with Celery it is null until a heartbeat names the lease. `lease_token` is the fencing token: only an
    outcome with this token is recorded. `running_since` is when a thread began the transition, null until a worker
    reports it. `lost_lease` is the token of the newest lost lease, until an outcome is recorded or its worker learns of
    the loss: an outcome with that token gets the lease back.

    A `smoke` execution is a smoke test of its release. It counts for no statistics and belongs to no campaign.

    Exactly the executions that an open hold names are `held`. Holds of their release or pipeline do not change
    them.

    `tags` are what the caller submitted with it, or null. `traceparent` is the W3C context of the span that submitted
    it; null if that is not traced. `notify` is the id of the channel that gets a message at each of its ends (see
    `Notification`); null for none. `notify_by_policy` is true if the pipeline's policy named a channel at the
    submission; null otherwise. The policy at the end decides which channel it is. `reported` is true once a step has
    reported something (see `StepReport`), so that nothing is read for other executions; null until then.

    `not_before`, `expires_at` and `priority` (1 for high, -1 for low) say when it starts; null if the submission did
    not. It is due no earlier than `not_before`, and is cancelled if no worker got it by `expires_at`.

    Of the executions with an equal `concurrency_key`, at most as many start and are in progress as their release
    allows. The others wait for a place: they are due after `WAITS_FOR_PLACE`. It is null if the release has no limit.
    `started_at` is when a worker got an execution with a key for the first time after the submission or a re-drive.

    `parent_id` is the execution whose step this one runs as a child (`executions.children`); null for all others.
    `family_due_at` is when the next attempt is due to tell the parent of its end, or to cancel its own children. A
    trigger sets it when the execution ends; null if there is nothing to do.

    The next transition starts at `current_step_index` with `progress`, or with the input if that is null. `progress` is
    the output of a checkpoint, the requests of an await, or its answers.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Every move updates the indexes, so there are only those that a query needs. The guards of executions imply the
    # constraints of both foreign keys: see migration 0009.
    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, related_name="executions", db_index=False, db_constraint=False
    )
    release = models.ForeignKey(
        Release, on_delete=models.PROTECT, related_name="executions", db_index=False, db_constraint=False
    )
    pipeline_id = models.CharField(max_length=IDENTITY_LENGTH)
    contract_version = models.CharField(max_length=IDENTITY_LENGTH)
    release_version = models.CharField(max_length=IDENTITY_LENGTH)
    # Compared by bytes, so that the unique index also finds keys by their beginning.
    execution_key = models.CharField(max_length=1500, db_collation="C")
    input_digest = models.CharField(max_length=64)
    input = models.JSONField()
    input_shape = models.CharField(max_length=5, choices=[("UNI", "UNI"), ("MULTI", "MULTI")])
    checkpoints = models.BooleanField(default=False)
    smoke = models.BooleanField(default=False, db_default=False)
    result_shape = models.CharField(
        max_length=20, choices=[("SINGLE", "SINGLE"), ("MATERIALIZED_MULTI", "MATERIALIZED_MULTI")]
    )
    status = models.CharField(
        max_length=20, choices=[(state.value, state.value) for state in State], db_default=State.QUEUED.value
    )
    version = models.BigIntegerField(default=0, db_default=0)
    event_count = models.IntegerField(default=1, db_default=1)
    current_step_index = models.IntegerField(default=0, db_default=0)
    attempt = models.IntegerField(default=0, db_default=0)
    budget_start = models.IntegerField(default=0, db_default=0)
    takeovers = models.IntegerField(default=0, db_default=0)
    progress = models.JSONField(null=True)
    progress_shape = models.CharField(max_length=5, null=True)
    await_unit = models.ForeignKey("AwaitUnit", on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    next_due_at = models.DateTimeField(db_default=TransactionNow())
    held = models.BooleanField(default=False, db_default=False)
    lease_owner = models.CharField(max_length=200, null=True)
    lease_protocol = models.CharField(max_length=20, null=True, choices=[("rest", "REST"), ("celery", "Celery")])
    lease_worker = models.CharField(max_length=200, null=True)
    lease_token = models.UUIDField(null=True)
    lost_lease = models.UUIDField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    running_since = models.DateTimeField(null=True)
    last_transition_key = models.CharField(max_length=200, null=True)
    result = models.JSONField(null=True)
    error_code = models.CharField(max_length=100, null=True)
    error_message = models.CharField(max_length=512, null=True)
    submitted_by = models.CharField(max_length=200)
    tags = ArrayField(models.CharField(max_length=LONGEST_TAG), null=True)
    traceparent = models.CharField(max_length=55, null=True)
    notify = models.UUIDField(null=True)
    notify_by_policy = models.BooleanField(null=True)
    not_before = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    priority = models.SmallIntegerField(null=True)
    concurrency_key = models.CharField(max_length=LONGEST_KEY, null=True)
    started_at = models.DateTimeField(null=True)
    reported = models.BooleanField(null=True)
    parent_id = models.UUIDField(null=True)
    family_due_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "pipeline_id", "execution_key"), name="execution_key_once"),
            models.CheckConstraint(condition=VALID_ROW, name="execution_is_valid"),
        )
        indexes = (
            models.Index(
                fields=("release", "next_due_at"), condition=Q(status__in=DUE_VALUES, held=False), name="execution_due"
            ),
            models.Index(fields=("release",), condition=Q(status=State.RUNNING), name="execution_running"),
            # For the sweep (`lifecycle.starts`). Only executions that use this are in them.
            models.Index(
                fields=("expires_at",),
                condition=Q(expires_at__isnull=False, status=State.QUEUED, version=0),
                name="execution_expiring",
            ),
            models.Index(
                fields=("release", "next_due_at"),
                condition=Q(priority__lt=0, status__in=DUE_VALUES, held=False),
                name="execution_low",
            ),
            models.Index(
                fields=("tenant", "pipeline_id", "concurrency_key", "next_due_at", "id"),
                condition=Q(concurrency_key__isnull=False, finished_at=None),
                name="execution_place",
            ),
            models.Index(
                fields=("tenant", "pipeline_id", "concurrency_key", "started_at", "next_due_at"),
                condition=Q(concurrency_key__isnull=False) & (Q(started_at__isnull=False) | Q(finished_at=None)),
                name="execution_start",
            ),
            # Only children are in it, and in the next one those that ended just now, and cancelled parents.
            models.Index(fields=("parent_id", "id"), condition=Q(parent_id__isnull=False), name="execution_child"),
            models.Index(
                fields=("family_due_at",), condition=Q(family_due_at__isnull=False), name="execution_family_due"
            ),
            models.Index(fields=("tenant", "-created_at", "-id"), name="execution_newest"),
            # For the counts of live executions, which read nothing else.
            models.Index(
                fields=("release", "status", "smoke"),
                condition=~Q(status__in=TERMINAL_VALUES),
                name="execution_live",
            ),
            # The removal of an await unit checks that no execution waits for it.
            models.Index(
                fields=("await_unit",), condition=Q(await_unit__isnull=False), name="execution_waiting_for_unit"
            ),
            # For retention, which removes the executions that finished first.
            models.Index(
                fields=("tenant", "finished_at"),
                condition=Q(status__in=["SUCCEEDED", "CANCELLED"]),
                name="execution_over",
            ),
            # For the filters of campaigns, and for retention of failed executions.
            models.Index(
                fields=("tenant", "finished_at", "id"), condition=Q(status__in=["DLQ", "FAILED"]), name="execution_dead"
            ),
            # For the counts of failures by release, and the previews of campaigns, which read nothing else.
            models.Index(
                fields=("release", "finished_at", "id"),
                include=("status", "tenant", "smoke", "error_code"),
                condition=Q(status__in=["DLQ", "FAILED"]),
                name="execution_failed_of_release",
            ),
            # For searches. A submission with a token writes to none of them, except for tags.
            models.Index(
                fields=("tenant", "status", "-created_at", "-id"),
                condition=Q(status__in=["CANCELLED", "DLQ", "FAILED"]),
                name="execution_unsuccessful",
            ),
            models.Index(
                fields=("tenant", "error_code", "-created_at", "-id"),
                condition=Q(error_code__isnull=False),
                name="execution_error",
            ),
            models.Index(
                fields=("tenant", "submitted_by", "-created_at", "-id"),
                condition=Q(submitted_by__startswith=PERSON),
                name="execution_by_person",
            ),
            GinIndex(fields=("tags",), condition=Q(tags__isnull=False), name="execution_tags"),
        )

    # Set only by `queries.state`: whether there may be links to and from executions that were resubmitted, and finished
    # items of steps.
    has_origin = True
    has_links = True
    has_items = True

    def __str__(self) -> str:
        return str(self.id)

    @property
    def shown_status(self) -> str:
        """The status to display: a leased execution is CLAIMED until a worker has started it."""
        return CLAIMED if self.status == State.RUNNING and self.running_since is None else self.status

    @property
    def due_at(self) -> datetime | None:
        """When it is due. From then on, it is None while it waits for a place of its concurrency key."""
        if self.next_due_at < WAITS_FOR_PLACE:
            return self.next_due_at
        since = self.next_due_at.replace(year=self.next_due_at.year - 7000) + (self.priority or 0) * timedelta(hours=1)
        return since if since > timezone.now() else None

    @cached_property
    def business_key(self) -> str:
        """The key with which its input was submitted first: that of the original if it is a resubmission.

        It is its own key if the original was removed. For many executions, call `read_business_keys` first.
        """
        if not self.execution_key.startswith(RESUBMISSION_PREFIX):
            return self.execution_key
        return first_keys([self.pk]).get(self.pk, self.execution_key)

    def step_at(self, index: int) -> Step:
        """Return the step of its release with this index."""
        return step_at(self.release_id, self.contract_version, index)

    @property
    def step(self) -> Step:
        """The step with which its next transition starts."""
        return self.step_at(self.current_step_index)

    @property
    def pin(self) -> ReleaseIdentity:
        return ReleaseIdentity(self.tenant.slug, self.pipeline_id, self.contract_version, self.release_version)


def read_business_keys(executions: Collection[Execution]) -> None:
    """Set `business_key` of each execution, with one query if there are resubmissions among them, and none otherwise.

    Without it, each reads its own when it is needed.
    """
    keys = first_keys(
        [execution.pk for execution in executions if execution.execution_key.startswith(RESUBMISSION_PREFIX)]
    )
    for execution in executions:
        execution.business_key = keys.get(execution.pk, execution.execution_key)


class ExecutionEvent(models.Model):
    """One event of an execution, append-only. `sequence` starts at 1 and has no gaps."""

    # The guards of events and removals imply the constraint of the foreign key: see migration 0013.
    execution = models.ForeignKey(
        Execution, on_delete=models.PROTECT, related_name="events", db_index=False, db_constraint=False
    )
    sequence = models.IntegerField()
    kind = models.CharField(max_length=40)
    status = models.CharField(max_length=20)
    actor = models.CharField(max_length=200)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("execution", "sequence")
        constraints = (models.UniqueConstraint(fields=("execution", "sequence"), name="event_sequence_once"),)

    def __str__(self) -> str:
        return f"{self.execution_id} #{self.sequence} {self.kind}"


class WireForm(models.Model):
    """The input as it was submitted, and the outputs as a REST worker sent them.

    `input` is a snapshot with its payloads, `result` a list of payloads. Each is null if it did not travel in typed
    payloads, and is written once, in the transaction that accepts or ends the execution.
    """

    execution = models.OneToOneField(Execution, on_delete=models.PROTECT, primary_key=True, related_name="wire_form")
    input = models.JSONField(null=True)
    result = models.JSONField(null=True)

    def __str__(self) -> str:
        return str(self.execution_id)


class FinishedCount(models.Model):
    """How many executions of a release finished in one minute, and how. Derived from the executions.

    `executions.statistics` writes, reads and removes these rows.
    """

    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="+", db_index=False)
    minute = models.DateTimeField()
    succeeded = models.PositiveIntegerField()
    failed = models.PositiveIntegerField()
    cancelled = models.PositiveIntegerField()

    class Meta:
        # Migration 0016 adds a CHECK: `minute` has no seconds.
        constraints = (models.UniqueConstraint(fields=("minute", "release"), name="finished_count_once"),)

    def __str__(self) -> str:
        return f"{self.release_id} at {self.minute}"
