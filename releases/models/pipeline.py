"""A tenant's pipelines and their policies."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q, TextChoices

from tenancy.models import Tenant
from wire.documents.concurrency import MOST as MOST_PLACES
from wire.documents.step_policy import CHANGEABLE, wrong_steps
from wire.retry import LONGEST_RETRY_DELAY

if TYPE_CHECKING:
    from releases.models.release import Release

LONGEST_CHANNEL = 100


class SignaturePolicy(TextChoices):
    """Whether an activation needs a signature by a trusted key."""

    OFF = "off", "Signatures are displayed and not required"
    WARN = "warn", "A release that no trusted key signed can be activated, with a warning"
    REQUIRE = "require", "A release can be activated only if a trusted key signed it"


class WorkerGate(TextChoices):
    """Whether an activation needs a worker that may run the release."""

    REQUIRE = "require", "A release can be activated only if a worker may run it"
    WARN = "warn", "A release that no worker may run can be activated, with a warning"
    OFF = "off", "Activations do not check workers"


class UnverifiedWorkers(TextChoices):
    """Whether workers get work although they report that their code comes from a folder and not from an artifact."""

    REFUSE = "refuse", "Workers that host code from a folder get no work"
    ALLOW = "allow", "Workers that host code from a folder get work"


class MissingArtifacts(TextChoices):
    """Whether a release is registered if the bytes of an artifact were not uploaded and no repository has them."""

    REJECT = "reject", "A release whose bytes cannot be had is rejected"
    IDENTITY_ONLY = "identity-only", "A release whose bytes cannot be had is registered, and only identifies them"


class Recipients(TextChoices):
    """Whether only those may answer a question whom it names."""

    ENFORCE = "enforce", "Only the assignee and members with the group may answer"
    INFORM = "inform", "The assignee and the group are shown, and others may answer"


class NotifyEnds(TextChoices):
    """Which ends of executions the channel of the policy gets messages about."""

    ALL = "all", "The channel gets a message at each end of an execution"
    FAILED = "failed", "The channel gets a message if an execution fails"


DEFAULT: Final = "the default"
"""What a null number means that the installation has a setting for. The setting is named as the column."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the policy: its name in the API, its column, its title for people, and what it means.

    It is one of the `choices`, a number within the `limits`, a text of at most `longest` characters, an object of the
    policies of steps (`of_steps`), or else true or false. A number is whole if its limits are. A null number or text
    means `unset`; if that is empty, it is never null.
    """

    name: str
    column: str
    title: str
    meaning: str
    choices: type[TextChoices] | None = None
    limits: tuple[float, float] | None = None
    unset: str = ""
    longest: int | None = None
    of_steps: bool = False

    @property
    def is_flag(self) -> bool:
        return self.choices is None and self.limits is None and self.longest is None and not self.of_steps

    @property
    def is_integer(self) -> bool:
        return self.limits is not None and isinstance(self.limits[0], int)

    @property
    def constraint(self) -> models.CheckConstraint | None:
        """What the database checks of the column, or None. `pipeline_retries_sane` checks the retry settings."""
        if self.choices is not None:
            name = f"pipeline_{self.column}_known"
            return models.CheckConstraint(condition=Q((f"{self.column}__in", self.choices.values)), name=name)
        if self.limits is None or self.column.startswith("retry_"):
            return None
        condition = Q((f"{self.column}__range", self.limits))
        if self.unset:
            condition = Q((self.column, None)) | condition
        return models.CheckConstraint(condition=condition, name=f"pipeline_{self.column}")

    def wrong(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None."""
        if self.choices is not None:
            return None if value in self.choices.values else f"must be one of {', '.join(self.choices.values)}"
        if self.longest is not None:
            is_text = isinstance(value, str) and 0 < len(value) <= self.longest
            return None if is_text or value is None else f"must be a name, or null for {self.unset}"
        if self.of_steps:
            return "; ".join(wrong_steps(value, CHANGEABLE)) if isinstance(value, dict) else "must be an object"
        if self.limits is None:
            return None if isinstance(value, bool) else "must be true or false"
        if (value is None and self.unset) or _is_within(value, self.limits, integer=self.is_integer):
            return None
        number = "a whole number" if self.is_integer else "a number"
        null = f", or null for {self.unset}" if self.unset else ""
        return f"must be {number} from {self.limits[0]:g} to {self.limits[1]:g}{null}"


def _is_within(value: Any, limits: tuple[float, float], *, integer: bool) -> bool:
    is_number = isinstance(value, int if integer else int | float) and not isinstance(value, bool)
    return bool(is_number and math.isfinite(value) and limits[0] <= value <= limits[1])


MEMBERS = (
    # Judged at an activation, a rollback and each step of a gradual activation.
    Member(
        "reasonRequired",
        "reason_required",
        "Activations require a reason",
        "Whether an activation needs a reason. A rollback always needs one.",
    ),
    Member(
        "signaturePolicy",
        "signature_policy",
        "Signatures",
        "Whether an activation needs a signature by a trusted key.",
        choices=SignaturePolicy,
    ),
    Member(
        "workerGate",
        "worker_gate",
        "Workers before an activation",
        "Whether an activation needs a worker that may run the release.",
        choices=WorkerGate,
    ),
    Member(
        "approvals",
        "approvals",
        "Approvals",
        "How many people other than the requester must approve an activation. A rollback to a recently active release "
        "needs none.",
        limits=(0, 10),
    ),
    Member(
        "approvalHours",
        "approval_hours",
        "Hours for approvals",
        "How many hours a request to activate a release waits for approvals.",
        limits=(1, 720),
    ),
    Member(
        "emergencyOverride",
        "emergency_override",
        "Emergency override",
        "Whether a tenant admin may activate a release without the approvals, with a reason.",
    ),
    Member(
        "smokeTestHours",
        "smoke_test_hours",
        "Age of the smoke test before an activation, in hours",
        "How many hours ago the release must have passed a smoke test before it is activated.",
        limits=(1, 8760),
        unset="no smoke test",
    ),
    # Judged when a submission names a release.
    Member(
        "skewGraceMinutes",
        "skew_grace_minutes",
        "Grace after a switch, in minutes",
        "How many minutes after it was replaced a release is still open to submissions that name it.",
        limits=(0, 43_200),
    ),
    # Judged when a worker claims work.
    Member(
        "unverifiedWorkers",
        "unverified_workers",
        "Unverified workers",
        "Whether workers get work that report that their code comes from a folder and not from an artifact.",
        choices=UnverifiedWorkers,
    ),
    # Judged while a release is verified.
    Member(
        "missingArtifacts",
        "missing_artifacts",
        "Missing artifacts",
        "Whether a release is registered whose bytes were not uploaded and are in no repository.",
        choices=MissingArtifacts,
    ),
    Member(
        "verificationHours",
        "verification_hours",
        "Hours for a verification without answers",
        "How many hours after its upload a release waits for repositories and registries that do not answer. Then it "
        "is rejected.",
        limits=(1, 720),
    ),
    # Judged at a rollback.
    Member(
        "rollBackDays",
        "rollback_days",
        "Rollback without approvals, in days",
        "A rollback to a release that was active in these last days needs no approvals, and the role on-call may do "
        "it.",
        limits=(1, 3650),
    ),
    # Judged when an await is answered.
    Member(
        "validateAnswers",
        "validate_answers",
        "Answers must have the declared type",
        "Whether an answer to a question must have the type that the contract names.",
    ),
    # Judged when an await is claimed or answered.
    Member(
        "recipients",
        "recipients",
        "Assignees and groups of questions",
        "Whether a question that names an assignee or a group may be answered by others.",
        choices=Recipients,
    ),
    # Judged when an attempt has failed.
    Member(
        "retryLimit",
        "retry_limit",
        "Retries",
        "The number of retries after a failed first attempt.",
        limits=(0, 1000),
        unset=DEFAULT,
    ),
    Member(
        "retryDelaySeconds",
        "retry_delay_seconds",
        "Delay before the first retry, in seconds",
        "The delay before the first retry.",
        limits=(0.0, LONGEST_RETRY_DELAY.total_seconds()),
        unset=DEFAULT,
    ),
    Member(
        "retryMultiplier",
        "retry_multiplier",
        "Growth of the delay",
        "The factor by which the delay grows with each retry.",
        limits=(1.0, 100.0),
        unset=DEFAULT,
    ),
    Member(
        "steps",
        "step_policies",
        "Policies of steps",
        "What counts in place of what a step declares about retries and time, by the name of the step.",
        of_steps=True,
    ),
    Member(
        "repeatUnknownOutcomes",
        "repeat_unknown_outcomes",
        "Repeat calls with an unknown outcome",
        "Whether a call of a REST worker is retried although the worker may have carried it out.",
    ),
    # Judged each time that an execution may start.
    Member(
        "concurrencyLimit",
        "concurrency_limit",
        "Executions in progress",
        "How many executions with an equal key may be in progress, if the release limits that.",
        limits=(1, MOST_PLACES),
        unset="what the release declares",
    ),
    Member(
        "rateLimit",
        "rate_limit",
        "Starts in a period",
        "How many executions with an equal key may start in the period that the release declares.",
        limits=(1, MOST_PLACES),
        unset="what the release declares",
    ),
    # Judged when steps report.
    Member(
        "keepLogs",
        "keep_logs",
        "Keep the lines of steps",
        "Whether the lines that steps log and print are kept with their execution.",
    ),
    # Judged when an execution is submitted, and again when it ends.
    Member(
        "notifyChannel",
        "notify_channel",
        "Channel for ends of executions",
        "The name of the channel that gets a message when an execution of the pipeline has ended.",
        longest=LONGEST_CHANNEL,
        unset="no channel",
    ),
    Member(
        "notifyEnds",
        "notify_ends",
        "Ends with a message",
        "Which ends have a message: all, or those of failed executions.",
        choices=NotifyEnds,
    ),
)


class Policy(models.Model):
    """The columns of the members."""

    reason_required = models.BooleanField(default=False)
    signature_policy = models.CharField(max_length=10, choices=SignaturePolicy, default=SignaturePolicy.OFF)
    worker_gate = models.CharField(max_length=10, choices=WorkerGate, default=WorkerGate.REQUIRE)
    approvals = models.PositiveIntegerField(default=0, db_default=0)
    approval_hours = models.PositiveIntegerField(default=72, db_default=72)
    emergency_override = models.BooleanField(default=False, db_default=False)
    validate_answers = models.BooleanField(default=True)
    recipients = models.CharField(
        max_length=10, choices=Recipients, default=Recipients.ENFORCE, db_default=Recipients.ENFORCE.value
    )
    unverified_workers = models.CharField(max_length=10, choices=UnverifiedWorkers, default=UnverifiedWorkers.REFUSE)
    missing_artifacts = models.CharField(max_length=15, choices=MissingArtifacts, default=MissingArtifacts.REJECT)
    verification_hours = models.PositiveIntegerField(default=24, db_default=24)
    rollback_days = models.PositiveIntegerField(default=30)
    smoke_test_hours = models.PositiveIntegerField(null=True, blank=True)
    skew_grace_minutes = models.PositiveIntegerField(default=0)
    retry_limit = models.PositiveIntegerField(null=True, blank=True)
    retry_delay_seconds = models.FloatField(null=True, blank=True)
    retry_multiplier = models.FloatField(null=True, blank=True)
    step_policies = models.JSONField(default=dict, db_default={}, blank=True)
    repeat_unknown_outcomes = models.BooleanField(default=False, db_default=False)
    concurrency_limit = models.PositiveIntegerField(null=True, blank=True)
    rate_limit = models.PositiveIntegerField(null=True, blank=True)
    keep_logs = models.BooleanField(default=True, db_default=True)
    notify_channel = models.CharField(max_length=LONGEST_CHANNEL, null=True, blank=True)
    notify_ends = models.CharField(
        max_length=10, choices=NotifyEnds, default=NotifyEnds.ALL, db_default=NotifyEnds.ALL.value
    )

    class Meta:
        abstract = True
        constraints = (
            models.CheckConstraint(
                condition=(Q(retry_delay_seconds=None) | Q(retry_delay_seconds__gte=0))
                & (Q(retry_multiplier=None) | Q(retry_multiplier__gte=1)),
                name="pipeline_retries_sane",
            ),
            *(member.constraint for member in MEMBERS if member.constraint is not None),
        )


IDENTITY_LENGTH = 500
"""The longest pipeline id, contract version, release version and artifact id, in characters."""


class Pipeline(Policy):
    """A tenant's pipeline and its policy.

    `activation` is the newest activation, or null before the first. `application` is that of the deployment API to
    which the pipeline belongs; it is empty until the first deployment names it, and never changes afterwards.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="pipelines", db_index=False)
    pipeline_id = models.CharField(max_length=IDENTITY_LENGTH)
    application = models.CharField(max_length=IDENTITY_LENGTH, default="", blank=True)
    activation = models.OneToOneField(
        "Activation", on_delete=models.PROTECT, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("tenant", "pipeline_id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "pipeline_id"), name="pipeline_once"),
            models.CheckConstraint(condition=~Q(pipeline_id__regex=r"^\s*$"), name="pipeline_id_not_blank"),
            *Policy.Meta.constraints,
        )

    def __str__(self) -> str:
        return self.pipeline_id

    @property
    def active_release(self) -> "Release | None":
        return self.activation.release if self.activation else None
