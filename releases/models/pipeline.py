"""A tenant's pipelines and their policies."""

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from tenancy.models import Tenant

IDENTITY_LENGTH = 500
"""The longest pipeline id, contract version, release version and artifact id, in characters."""

LONGEST_ROLLBACK_DAYS = 3650
MOST_APPROVALS = 10
LONGEST_APPROVAL_HOURS = 720
OLDEST_SMOKE_TEST_HOURS = 8760
LONGEST_SKEW_GRACE_MINUTES = 43_200
LONGEST_VERIFICATION_HOURS = 720


class SignaturePolicy(models.TextChoices):
    """Whether an activation needs a signature by a trusted key."""

    OFF = "off", "Signatures are displayed and not required"
    WARN = "warn", "A release that no trusted key signed can be activated, with a warning"
    REQUIRE = "require", "A release can be activated only if a trusted key signed it"


class WorkerGate(models.TextChoices):
    """Whether an activation needs a worker that may run the release."""

    REQUIRE = "require", "A release can be activated only if a worker may run it"
    WARN = "warn", "A release that no worker may run can be activated, with a warning"
    OFF = "off", "Activations do not check workers"


class UnverifiedWorkers(models.TextChoices):
    """Whether workers get work although they report that their code comes from a folder and not from an artifact."""

    REFUSE = "refuse", "Workers that host code from a folder get no work"
    ALLOW = "allow", "Workers that host code from a folder get work"


class MissingArtifacts(models.TextChoices):
    """Whether a release is registered if the bytes of an artifact were not uploaded and no repository has them."""

    REJECT = "reject", "A release whose bytes cannot be had is rejected"
    IDENTITY_ONLY = "identity-only", "A release whose bytes cannot be had is registered, and only identifies them"


class Pipeline(models.Model):
    """A tenant's pipeline and its policy.

    `activation` is the newest activation, or null before the first. `application` is the application of the framework
    to which the pipeline belongs; it is empty until the first deployment names it, and never changes afterwards.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="pipelines")
    pipeline_id = models.CharField(max_length=IDENTITY_LENGTH)
    application = models.CharField(max_length=IDENTITY_LENGTH, default="", blank=True)
    reason_required = models.BooleanField(default=False, help_text="Whether an activation needs a reason.")
    signature_policy = models.CharField(max_length=10, choices=SignaturePolicy, default=SignaturePolicy.OFF)
    worker_gate = models.CharField(max_length=10, choices=WorkerGate, default=WorkerGate.REQUIRE)
    approvals = models.PositiveIntegerField(
        default=0, db_default=0, help_text="How many other people must approve an activation."
    )
    approval_hours = models.PositiveIntegerField(
        default=72, db_default=72, help_text="How many hours a request waits for approvals."
    )
    emergency_override = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Whether a tenant admin may activate without approvals, with a reason.",
    )
    validate_answers = models.BooleanField(
        default=True, help_text="Whether an answer to an await must match the type that the contract names."
    )
    unverified_workers = models.CharField(max_length=10, choices=UnverifiedWorkers, default=UnverifiedWorkers.REFUSE)
    missing_artifacts = models.CharField(max_length=15, choices=MissingArtifacts, default=MissingArtifacts.REJECT)
    verification_hours = models.PositiveIntegerField(
        default=24,
        db_default=24,
        help_text="How many hours after its upload a release waits for repositories and registries without an answer.",
    )
    rollback_days = models.PositiveIntegerField(
        default=30,
        help_text="How many days ago a release may have been active so that the scope releases:roll-back suffices.",
    )
    smoke_test_hours = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="How old the passed smoke test of a release may be when it is activated. Blank: no smoke test.",
    )
    skew_grace_minutes = models.PositiveIntegerField(
        default=0, help_text="How long callers that name a release still get it after it was replaced."
    )
    retry_limit = models.PositiveIntegerField(
        null=True, blank=True, help_text="The number of retries. Blank: the default."
    )
    retry_delay_seconds = models.FloatField(
        null=True, blank=True, help_text="The delay before the first retry. Blank: the default."
    )
    retry_multiplier = models.FloatField(
        null=True, blank=True, help_text="The factor by which the delay grows. Blank: the default."
    )
    repeat_unknown_outcomes = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Whether a call of a REST worker runs again although the worker may have carried it out.",
    )
    activation = models.OneToOneField(
        "Activation", on_delete=models.PROTECT, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("tenant", "pipeline_id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "pipeline_id"), name="pipeline_once"),
            models.CheckConstraint(
                condition=(Q(retry_delay_seconds=None) | Q(retry_delay_seconds__gte=0))
                & (Q(retry_multiplier=None) | Q(retry_multiplier__gte=1)),
                name="pipeline_retries_sane",
            ),
            models.CheckConstraint(
                condition=Q(rollback_days__range=(1, LONGEST_ROLLBACK_DAYS)), name="pipeline_rollback_days"
            ),
            models.CheckConstraint(
                condition=Q(smoke_test_hours=None) | Q(smoke_test_hours__range=(1, OLDEST_SMOKE_TEST_HOURS)),
                name="pipeline_smoke_test_hours",
            ),
            models.CheckConstraint(
                condition=Q(skew_grace_minutes__range=(0, LONGEST_SKEW_GRACE_MINUTES)),
                name="pipeline_skew_grace_minutes",
            ),
            models.CheckConstraint(condition=~Q(pipeline_id__regex=r"^\s*$"), name="pipeline_id_not_blank"),
            models.CheckConstraint(
                condition=Q(signature_policy__in=SignaturePolicy.values), name="pipeline_signature_policy_known"
            ),
            models.CheckConstraint(condition=Q(worker_gate__in=WorkerGate.values), name="pipeline_worker_gate_known"),
            models.CheckConstraint(condition=Q(approvals__range=(0, MOST_APPROVALS)), name="pipeline_approvals"),
            models.CheckConstraint(
                condition=Q(approval_hours__range=(1, LONGEST_APPROVAL_HOURS)), name="pipeline_approval_hours"
            ),
            models.CheckConstraint(
                condition=Q(missing_artifacts__in=MissingArtifacts.values), name="pipeline_missing_artifacts_known"
            ),
            models.CheckConstraint(
                condition=Q(verification_hours__range=(1, LONGEST_VERIFICATION_HOURS)),
                name="pipeline_verification_hours",
            ),
            models.CheckConstraint(
                condition=Q(unverified_workers__in=UnverifiedWorkers.values), name="pipeline_unverified_workers_known"
            ),
        )

    def __str__(self) -> str:
        return self.pipeline_id
