"""Gradual activations: a candidate gets a share of the new executions before it becomes active."""

import uuid

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from releases.models.pipeline import Pipeline
from releases.models.release import Release

_RUNNING = "RUNNING"
_END = ("cause__isnull", "ended_by__isnull", "end_reason__isnull", "ended_at__isnull")


class GradualActivation(models.Model):
    """One gradual activation of a candidate, while the baseline stays the active release of the pipeline.

    `steps` are the shares of the candidate, each with the conditions of the next step. `step` is the index of the
    current one. `groups` are tags and names of tokens whose executions all get the candidate. `bounds` say when the
    coordinator withdraws the candidate. See `releases.activation.gradual.plan` for their members.

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
