"""Awaits: a suspended boundary of an execution (the unit), and each external request in it (a question)."""

import uuid

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from executions.models.dead_letter import OfExecutions
from executions.models.execution import Execution
from releases.step_names import Step
from tenancy.models import Tenant
from wire.documents.contract import AUTOMATIC
from wire.traceparent import SQL_FORM


class AwaitUnit(models.Model):
    """One suspended boundary of one execution. An execution has at most one open unit.

    The execution resumes once `answered_items` reaches `expected_items`. `itemized` units resume with the list of all
    answers in the order of their items. Others resume with the one answer, as a list if `gives_many` is set.
    `worker_name` is the exact id that the worker gave it; null if the coordinator opened it. `traceparent` is the W3C
    context of the span that ran the suspended transition; null if that is not traced.
    """

    class Status(models.TextChoices):
        WAITING_EXTERNAL = "WAITING_EXTERNAL"
        COMPLETED = "COMPLETED"
        FAILED = "FAILED"
        TIMED_OUT = "TIMED_OUT"
        CANCELLED = "CANCELLED"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="await_units", db_index=False)
    execution = models.ForeignKey(Execution, on_delete=models.PROTECT, related_name="await_units")
    step_id = models.CharField(max_length=300)
    step_index = models.IntegerField()
    itemized = models.BooleanField()
    gives_many = models.BooleanField()
    expected_items = models.IntegerField()
    answered_items = models.IntegerField(default=0, db_default=0)
    worker_name = models.CharField(max_length=200, null=True)
    traceparent = models.CharField(max_length=55, null=True)
    status = models.CharField(
        max_length=20, choices=Status, default=Status.WAITING_EXTERNAL, db_default=Status.WAITING_EXTERNAL
    )
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("created_at", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("execution",), condition=Q(status="WAITING_EXTERNAL"), name="await_unit_one_open"
            ),
            models.UniqueConstraint(fields=("id", "execution", "tenant"), name="await_unit_key_of_interactions"),
            models.CheckConstraint(
                condition=Q(
                    expected_items__gte=1,
                    answered_items__gte=0,
                    answered_items__lte=F("expected_items"),
                    step_index__gte=0,
                ),
                name="await_unit_counts",
            ),
            models.CheckConstraint(
                condition=Q(status="COMPLETED", answered_items=F("expected_items")) | ~Q(status="COMPLETED"),
                name="await_unit_completed_is_answered",
            ),
            models.CheckConstraint(
                condition=Q(traceparent__isnull=True) | Q(traceparent__regex=SQL_FORM),
                name="await_unit_traceparent_form",
            ),
        )

    def __str__(self) -> str:
        return f"{self.step_id} of {self.execution_id}"


class Interaction(models.Model):
    """A question: one external request. The wire protocol calls it an interaction, and its table stays so.

    The first answer is stored, with its actor and time.

    A webhook is WAITING until it is sent, DISPATCHING while it is sent, and DISPATCHED after it was received. So is the
    call of a child pipeline, until the child is submitted.
    `worker_name` is the exact id that the worker gave it, if that differs from the text of `id`. `first_deadline` is
    the deadline with which it was opened, if a pause has moved `deadline` since.

    A claim says who is working on the answer; it ends at `claimed_until`, and never keeps others from answering.
    `delegate` is the member to whom the question was passed on. Each change of these has an `InteractionEvent`, whose
    number is `claim_changes`. So has a change of the recipients, `assignee` and `group`, which ends the claim and the
    delegation, too. `note` and `channel` belong to the answer; `channel` is null for timers, for answers that a worker
    reported, and for answers from before this column existed.
    """

    class Status(models.TextChoices):
        WAITING = "WAITING"
        DISPATCHING = "DISPATCHING"
        DISPATCHED = "DISPATCHED"
        COMPLETED = "COMPLETED"
        FAILED = "FAILED"
        TIMED_OUT = "TIMED_OUT"
        CANCELLED = "CANCELLED"

    class Channel(models.TextChoices):
        PAGE = "page", "the page"
        API = "api", "the API"
        RESUME_TOKEN = "resume-token", "a resume token, as the receiver of a webhook has it"

    OPEN = (Status.WAITING, Status.DISPATCHING, Status.DISPATCHED)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # A unit may have very many questions. So one foreign key of all three columns (migration 0004) stands in for one
    # of each, and the indexes below serve the columns.
    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, related_name="interactions", db_constraint=False, db_index=False
    )
    unit = models.ForeignKey(
        AwaitUnit, on_delete=models.PROTECT, related_name="interactions", db_constraint=False, db_index=False
    )
    execution = models.ForeignKey(
        Execution, on_delete=models.PROTECT, related_name="interactions", db_constraint=False, db_index=False
    )
    step_id = models.CharField(max_length=300)
    step_index = models.IntegerField()
    item_index = models.IntegerField(null=True)
    worker_name = models.CharField(max_length=200, null=True)
    correlation_id = models.CharField(max_length=200)
    transport = models.CharField(max_length=40)
    transport_metadata = models.JSONField(default=dict)
    request = models.JSONField()
    output_type = models.CharField(max_length=500)
    assignee = models.CharField(max_length=200, null=True)
    group = models.CharField(max_length=200, null=True)
    status = models.CharField(max_length=12, choices=Status)
    version = models.BigIntegerField(default=0)
    response = models.JSONField(null=True)
    actor = models.CharField(max_length=200, null=True)
    completed_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=2000, null=True)
    channel = models.CharField(max_length=12, null=True, choices=Channel)
    claimed_by = models.CharField(max_length=200, null=True)
    claimed_until = models.DateTimeField(null=True)
    delegate = models.CharField(max_length=200, null=True)
    claim_changes = models.IntegerField(default=0, db_default=0)
    deadline = models.DateTimeField()
    first_deadline = models.DateTimeField(null=True)
    dispatch_attempts = models.IntegerField(default=0)
    next_dispatch_at = models.DateTimeField(null=True)
    last_dispatch_error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    objects = OfExecutions.as_manager()

    class Meta:
        verbose_name = "question"
        ordering = ("deadline", "created_at", "id")
        constraints = (
            models.UniqueConstraint(fields=("unit", "item_index"), nulls_distinct=False, name="interaction_item_once"),
            models.CheckConstraint(
                condition=Q(status="COMPLETED", actor__isnull=False, completed_at__isnull=False)
                | (~Q(status="COMPLETED") & Q(actor__isnull=True, completed_at__isnull=True, response__isnull=True)),
                name="interaction_completed_by_somebody",
            ),
            models.CheckConstraint(
                condition=Q(status="COMPLETED") | Q(note__isnull=True, channel__isnull=True),
                name="interaction_note_of_answer",
            ),
            models.CheckConstraint(
                condition=Q(note__isnull=True) | ~Q(note__regex=r"^\s*$"), name="interaction_note_says_something"
            ),
            models.CheckConstraint(
                condition=Q(channel__isnull=True) | Q(channel__in=["page", "api", "resume-token"]),
                name="interaction_channel_known",
            ),
            models.CheckConstraint(
                condition=Q(claimed_by__isnull=True, claimed_until__isnull=True)
                | Q(claimed_by__isnull=False, claimed_until__isnull=False),
                name="interaction_claim_complete",
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "correlation_id"), name="interaction_correlation"),
            models.Index(fields=("execution", "deadline", "created_at", "id"), name="interaction_of_execution"),
            models.Index(fields=("tenant", "deadline", "created_at", "id"), name="interaction_by_deadline"),
            models.Index(
                fields=("tenant", "deadline", "created_at", "id"),
                include=("transport",),
                condition=Q(status__in=["WAITING", "DISPATCHING", "DISPATCHED"]),
                name="interaction_open",
            ),
            models.Index(
                fields=("deadline",),
                include=("tenant", "transport"),
                condition=Q(status__in=["WAITING", "DISPATCHING", "DISPATCHED"]),
                name="interaction_due",
            ),
            models.Index(
                fields=("next_dispatch_at",), condition=Q(next_dispatch_at__isnull=False), name="interaction_to_send"
            ),
        )

    def __str__(self) -> str:
        title = self.step.title
        return title if self.item_index is None else f"{title} #{self.item_index + 1}"

    @property
    def step(self) -> Step:
        """The step that asks. Needs the execution."""
        return self.execution.step_at(self.step_index)

    @property
    def known_as(self) -> str:
        """The id that clients see: the one that its worker gave it, otherwise `id`."""
        return self.worker_name or str(self.id)


IS_QUESTION = Q(status__in=Interaction.OPEN) & ~Q(transport__in=AUTOMATIC)
"""The condition for questions that wait for an answer. Timers and calls of pipelines are not among them."""
IS_CLAIMED = Q(status__in=Interaction.OPEN, claimed_until__gt=Now())
"""The condition for questions on which a claim lasts."""


class InteractionEvent(models.Model):
    """One change of the claim, the delegate or the recipients of a question, written in the same statement.

    `claimed_by`, `claimed_until` and `delegate` are those of the question after the change. `assignee` and `group`
    are the new recipients. Only REASSIGNED has them. `sequence` counts the changes from 1 and equals the question's
    `claim_changes`, so no change lacks its event and no event its change.
    """

    class Kind(models.TextChoices):
        CLAIMED = "CLAIMED"
        RENEWED = "RENEWED"
        TAKEN_OVER = "TAKEN_OVER"
        RELEASED = "RELEASED"
        DELEGATED = "DELEGATED"
        REASSIGNED = "REASSIGNED"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="interaction_events", db_index=False)
    execution = models.ForeignKey(Execution, on_delete=models.PROTECT, related_name="interaction_events")
    # The unique constraint is also the index of the foreign key.
    interaction = models.ForeignKey(Interaction, on_delete=models.PROTECT, related_name="events", db_index=False)
    sequence = models.IntegerField()
    kind = models.CharField(max_length=10, choices=Kind)
    actor = models.CharField(max_length=200)
    note = models.CharField(max_length=2000, null=True)
    claimed_by = models.CharField(max_length=200, null=True)
    claimed_until = models.DateTimeField(null=True)
    delegate = models.CharField(max_length=200, null=True)
    assignee = models.CharField(max_length=200, null=True)
    group = models.CharField(max_length=200, null=True)
    at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("interaction", "sequence")
        constraints = (
            models.UniqueConstraint(fields=("interaction", "sequence"), name="interaction_event_once"),
            models.CheckConstraint(
                condition=Q(
                    Q(kind__in=["CLAIMED", "RENEWED", "TAKEN_OVER"], claimed_by=models.F("actor"))
                    | Q(kind="RELEASED", claimed_by__isnull=True)
                    | Q(kind="DELEGATED", claimed_by__isnull=True, delegate__isnull=False),
                    assignee__isnull=True,
                    group__isnull=True,
                )
                | Q(
                    Q(assignee__isnull=False) | Q(group__isnull=False),
                    kind="REASSIGNED",
                    claimed_by__isnull=True,
                    delegate__isnull=True,
                    note__isnull=False,
                ),
                name="interaction_event_kind",
            ),
            models.CheckConstraint(
                condition=Q(note__isnull=True) | ~Q(note__regex=r"^\s*$"), name="interaction_event_note_says_something"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.interaction_id}"
