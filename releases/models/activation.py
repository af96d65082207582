"""The history of activations, requests to activate a release with their votes, and gradual activations."""

import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import F, Q

from releases.models.pipeline import Pipeline
from releases.models.release import Release
from releases.states import RequestStatus
from wire.documents.execution_statement import named


class Kind(models.TextChoices):
    """What an activation is. A rollback returns to a release that was active before, and is not active now.

    A gradual activation keeps the active release and gives a candidate a share of the new executions. Its end is a
    promotion, which makes the candidate active, or a withdrawal, which keeps the active release.
    """

    ACTIVATION = "activation", "Activation"
    ROLLBACK = "rollback", "Rollback"
    GRADUAL = "gradual", "Gradual activation"
    PROMOTION = "promotion", "Promotion"
    WITHDRAWAL = "withdrawal", "Withdrawal"


SWITCHES = (Kind.ACTIVATION, Kind.ROLLBACK, Kind.PROMOTION)
"""The kinds that decide which release is active. The others keep it."""
_ENDS = (Kind.PROMOTION, Kind.WITHDRAWAL)


class Activation(models.Model):
    """The append-only event that decides which release new executions get. `sequence` alone defines the order.

    The database sets `activated_at` when the row is inserted, and it never decreases. A rollback has a reason, and so
    has an `override`, which does without the approvals that the policy requires. `request` is the approved request
    that the activation carries out, or null. While a gradual activation runs, the newest row has a `candidate`, which
    gets `share` percent of the new executions.
    """

    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="activations", db_index=False)
    sequence = models.PositiveIntegerField()
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="activations")
    previous = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="+")
    candidate = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    share = models.DecimalField(max_digits=5, decimal_places=2, null=True)
    gradual = models.ForeignKey(
        "GradualActivation", on_delete=models.PROTECT, null=True, related_name="activations", db_index=False
    )
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.ACTIVATION)
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000, blank=True)
    operation_key = models.CharField(max_length=200, null=True)
    override = models.BooleanField(default=False, db_default=False)
    request = models.OneToOneField(
        "ActivationRequest", on_delete=models.PROTECT, null=True, editable=False, related_name="activation"
    )
    activated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("pipeline", "-sequence")
        constraints = (
            models.UniqueConstraint(fields=("pipeline", "sequence"), name="activation_sequence_once"),
            models.UniqueConstraint(fields=("pipeline", "operation_key"), name="activation_operation_once"),
            models.CheckConstraint(condition=Q(sequence__gte=1), name="activation_sequence_from_one"),
            models.CheckConstraint(condition=Q(kind__in=Kind.values), name="activation_kind_known"),
            models.CheckConstraint(
                condition=~Q(kind=Kind.ROLLBACK) | ~Q(reason__regex=r"^\s*$"), name="activation_rollback_says_why"
            ),
            models.CheckConstraint(
                condition=Q(override=False) | (~Q(reason__regex=r"^\s*$") & Q(request=None)),
                name="activation_override_says_why",
            ),
            models.CheckConstraint(
                condition=Q(
                    kind=Kind.GRADUAL,
                    candidate__isnull=False,
                    share__isnull=False,
                    share__range=(0, 100),
                    gradual__isnull=False,
                )
                | Q(kind__in=_ENDS, candidate__isnull=True, share__isnull=True, gradual__isnull=False)
                | (
                    ~Q(kind__in=(Kind.GRADUAL, *_ENDS))
                    & Q(candidate__isnull=True, share__isnull=True, gradual__isnull=True)
                ),
                name="activation_routes_by_kind",
            ),
        )

    def __str__(self) -> str:
        return f"#{self.sequence} {self.release}"

    @property
    def is_rollback(self) -> bool:
        return self.kind == Kind.ROLLBACK


LONGEST_SCHEDULE = timedelta(days=366)


class ActivationRequest(models.Model):
    """A request to activate a release as soon as enough people approve it, at a time, or both.

    `base` and `policy` are what it was made on: the newest activation of the pipeline, which is null if no release was
    active, and all members of the policy. If they move before the request is approved, it begins a new `round`, which
    records the new ones, and in `moved` what the difference is. Only votes of the current round count. `activate_at`
    is null if the approval activates at once. Votes are accepted until `expires_at`.

    With a `plan`, the request starts a gradual activation of the release instead. It has the members `steps`, `groups`
    and `bounds` of `GradualActivation`.

    `code` and `detail` say why a request FAILED. `detail` is the reason of a withdrawal, and `ended_by` made it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="activation_requests", db_index=False)
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="activation_requests")
    base = models.ForeignKey(Activation, on_delete=models.PROTECT, null=True, related_name="+")
    plan = models.JSONField(null=True)
    policy = models.JSONField()
    round = models.PositiveIntegerField(default=1)
    moved = models.JSONField(default=list)
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000)
    operation_key = models.CharField(max_length=200, null=True)
    activate_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    expires_at = models.DateTimeField()
    status = models.CharField(max_length=10, choices=[(choice.value, choice.value) for choice in RequestStatus])
    status_changed_at = models.DateTimeField(db_default=TransactionNow())
    code = models.CharField(max_length=60, default="", db_default="")
    detail = models.CharField(max_length=2000, default="", db_default="")
    ended_by = models.CharField(max_length=200, default="", db_default="")

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("pipeline", "operation_key"), name="activation_request_operation_once"),
            models.CheckConstraint(
                condition=Q(status__in=[status.value for status in RequestStatus]),
                name="activation_request_status_known",
            ),
            models.CheckConstraint(condition=~Q(reason__regex=r"^\s*$"), name="activation_request_says_why"),
            models.CheckConstraint(condition=Q(round__gte=1), name="activation_request_round_from_one"),
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("created_at"))
                & (
                    Q(activate_at=None)
                    | Q(activate_at__gt=F("created_at"), activate_at__lte=F("created_at") + LONGEST_SCHEDULE)
                ),
                name="activation_request_times",
            ),
            models.CheckConstraint(
                condition=(Q(status="FAILED") & ~Q(code="") & ~Q(detail="") & Q(ended_by=""))
                | (Q(status="WITHDRAWN", code="") & ~Q(detail__regex=r"^\s*$") & ~Q(ended_by=""))
                | (~Q(status__in=["FAILED", "WITHDRAWN"]) & Q(code="", detail="", ended_by="")),
                name="activation_request_end_says_why",
            ),
            models.CheckConstraint(
                condition=Q(plan__isnull=True) | Q(plan__has_keys=["steps", "groups", "bounds"]),
                name="activation_request_plan_is_complete",
            ),
        )
        indexes = (
            models.Index(fields=("expires_at",), condition=Q(status="OPEN"), name="activation_request_open"),
            models.Index(fields=("activate_at",), condition=Q(status="APPROVED"), name="activation_request_approved"),
        )

    def __str__(self) -> str:
        return f"Activation of {self.release}"

    @property
    def who(self) -> str:
        """The actor, followed by the requester if the actor is a token."""
        return named(self.actor, self.requester.username)

    @property
    def approvals_needed(self) -> int:
        """How many votes approve the request.

        It is 0 if the policy needed none when the request was made. If only a later policy needs none, one vote is
        still needed, because the request waits for votes.
        """
        needed = int(self.policy["approvals"])
        return needed if self.round == 1 else max(needed, 1)

    @property
    def voting_ends_at(self) -> datetime | None:
        """Until when votes are accepted; None if the request needs none."""
        return self.expires_at if self.approvals_needed else None

    @property
    def counted_votes(self) -> "list[Vote]":
        """The votes of the current round, oldest first."""
        return sorted((vote for vote in self.votes.all() if vote.round == self.round), key=lambda vote: vote.pk)


class Vote(models.Model):
    """The vote of one person on a request in one round; append-only. `actor` is the person or a token of theirs.

    A trigger rejects votes of the requester, of another round, and on a request that is not OPEN.
    """

    class Decision(models.TextChoices):
        APPROVE = "approve", "Approve"
        REFUSE = "refuse", "Refuse"

    request = models.ForeignKey(ActivationRequest, on_delete=models.PROTECT, related_name="votes", db_index=False)
    round = models.PositiveIntegerField()
    voter = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    actor = models.CharField(max_length=200)
    decision = models.CharField(max_length=10, choices=Decision)
    comment = models.CharField(max_length=1000, blank=True, default="")
    voted_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(fields=("request", "round", "voter"), name="vote_once"),
            models.CheckConstraint(condition=Q(decision__in=["approve", "refuse"]), name="vote_decision_known"),
        )

    def __str__(self) -> str:
        return f"{self.actor}: {self.decision}"

    @property
    def who(self) -> str:
        """The actor, followed by the voter if the actor is a token."""
        return named(self.actor, self.voter.username)


_RUNNING = "RUNNING"
_END = ("cause__isnull", "ended_by__isnull", "end_reason__isnull", "ended_at__isnull")


class GradualActivation(models.Model):
    """One gradual activation of a candidate, while the baseline stays the active release of the pipeline.

    `steps` are the shares of the candidate, each with the conditions of the next step. `step` is the index of the
    current one. `groups` are tags and names of tokens whose executions all get the candidate. `bounds` say when the
    coordinator withdraws the candidate. See `governance.gradual.plan` for their members.

    A pipeline has at most one that is RUNNING. While it runs, `step` grows by 1, and each step is a row of the
    activations. It ends once, with its cause and reason, and never changes afterwards. The database sets all times.
    """

    class Status(models.TextChoices):
        RUNNING = "RUNNING"
        PROMOTED = "PROMOTED"
        WITHDRAWN = "WITHDRAWN"
        REPLACED = "REPLACED"

    class Cause(models.TextChoices):
        """Why it ended: by a person, by a bound, or because a release was revoked or another one activated."""

        PERSON = "person"
        FAILURES = "failures"
        DURATION = "duration"
        REVOCATION = "revocation"
        ACTIVATION = "activation"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="gradual_activations", db_index=False)
    baseline = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="+", db_index=False)
    candidate = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="+", db_index=False)
    steps = models.JSONField()
    groups = models.JSONField()
    bounds = models.JSONField()
    step = models.PositiveSmallIntegerField(default=0, db_default=0)
    step_started_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    status = models.CharField(max_length=10, choices=Status, default=Status.RUNNING, db_default=Status.RUNNING)
    cause = models.CharField(max_length=10, choices=Cause, null=True)
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000, blank=True)
    started_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    ended_by = models.CharField(max_length=200, null=True)
    end_reason = models.CharField(max_length=1000, null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-started_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("pipeline",), condition=Q(status=_RUNNING), name="gradual_activation_one_running"
            ),
            models.CheckConstraint(
                condition=~Q(baseline=models.F("candidate")), name="gradual_activation_of_another_release"
            ),
            models.CheckConstraint(
                condition=Q(status=_RUNNING, **dict.fromkeys(_END, True))
                | ~Q(status=_RUNNING) & Q(**dict.fromkeys(_END, False)),
                name="gradual_activation_end_is_complete",
            ),
            models.CheckConstraint(
                condition=Q(status=_RUNNING)
                | Q(status="PROMOTED", cause="person")
                | Q(status="WITHDRAWN", cause__in=["person", "failures", "duration", "revocation"])
                | Q(status="REPLACED", cause="activation"),
                name="gradual_activation_cause_of_status",
            ),
            models.CheckConstraint(
                condition=~Q(status="WITHDRAWN") | ~Q(end_reason__regex=r"^\s*$"),
                name="gradual_activation_withdrawal_says_why",
            ),
        )
        indexes = (models.Index(fields=("pipeline", "-started_at", "-id"), name="gradual_activation_newest"),)

    def __str__(self) -> str:
        return f"gradual activation of {self.candidate}"
