"""Requests to activate a release, and the votes on them."""

import uuid
from datetime import timedelta

from django.conf import settings
from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import F, Q

from releases.models.activation import Activation
from releases.models.pipeline import Pipeline
from releases.models.release import Release
from releases.states import RequestStatus

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
    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="activation_requests")
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
    status = models.CharField(max_length=10, choices=[(each.value, each.value) for each in RequestStatus])
    status_changed_at = models.DateTimeField(db_default=TransactionNow())
    code = models.CharField(max_length=60, default="", db_default="")
    detail = models.CharField(max_length=2000, default="", db_default="")
    ended_by = models.CharField(max_length=200, default="", db_default="")

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("pipeline", "operation_key"), name="activation_request_operation_once"),
            models.CheckConstraint(
                condition=Q(status__in=[each.value for each in RequestStatus]), name="activation_request_status_known"
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
    def approvals_needed(self) -> int:
        """How many votes approve the request. If a later policy needs none, one vote is still needed."""
        return max(int(self.policy["approvals"]), 1)

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

    request = models.ForeignKey(ActivationRequest, on_delete=models.PROTECT, related_name="votes")
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
