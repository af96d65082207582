"""Contracts, releases with their artifacts and attachments, revocations, retirements, deployments and trusted keys."""

import uuid
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from releases.models.blob import Blob
from releases.models.pipeline import IDENTITY_LENGTH, Pipeline
from releases.states import AttachmentKind, Status
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire.documents.descriptor import ArtifactKind, Profile, profile_of
from wire.findings import Severity
from wire.identity import ReleaseIdentity


class Contract(models.Model):
    """The semantics of a pipeline at one contract version. `document` is normalised. A contract never changes."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="contracts", db_index=False)
    contract_version = models.CharField(max_length=IDENTITY_LENGTH)
    document = models.JSONField()
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("pipeline", "contract_version"), name="contract_once"),)

    def __str__(self) -> str:
        return self.contract_version


class Release(models.Model):
    """One deployable version of one contract.

    `UPLOADED > VERIFYING > REGISTERED | REJECTED`, and `REGISTERED > REVOKED | RETIRED`. `progress` changes while the
    release is VERIFYING (see `releases.registration.progress`). All other columns are written once: the descriptor and
    the contract document at the upload; the findings, the contract, the primary artifact, the environments, the
    checkpoints and the declarations with the verdict. The version of a rejected release can be uploaded again, so a
    version has at most one release that is not rejected.
    """

    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="releases")
    contract_version = models.CharField(max_length=IDENTITY_LENGTH)
    release_version = models.CharField(max_length=IDENTITY_LENGTH)
    descriptor = models.JSONField()
    descriptor_document = models.BinaryField(help_text="The exact bytes of the descriptor.")
    descriptor_digest = models.CharField(max_length=71, help_text="The SHA-256 of these bytes.")
    status = models.CharField(max_length=12, choices=[(status.value, status.value) for status in Status])
    findings = models.JSONField(default=list)
    contract_document = models.BinaryField(null=True, help_text="The contract document of the upload.")
    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, null=True, related_name="releases")
    primary_artifact_id = models.CharField(max_length=IDENTITY_LENGTH, default="", blank=True)
    environments = models.JSONField(
        default=dict, help_text="The environments that the artifacts require, by the artifact's digest."
    )
    checkpoints = models.BooleanField(
        default=False, help_text="Whether an artifact requests a checkpoint after each step."
    )
    declarations = models.JSONField(
        default=dict, db_default={}, help_text="What the artifacts declare besides the contract."
    )
    progress = models.JSONField(
        default=dict,
        db_default={},
        help_text="What the verification knows about each artifact so far, by the artifact's position.",
    )
    uploaded_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    status_changed_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("pipeline", "release_version"), condition=~Q(status=Status.REJECTED), name="release_once"
            ),
            models.CheckConstraint(
                condition=Q(status__in=[status.value for status in Status]), name="release_status_known"
            ),
        )
        indexes = (
            models.Index(
                fields=("status_changed_at",),
                condition=Q(status__in=[Status.UPLOADED, Status.VERIFYING]),
                name="release_pending",
            ),
        )

    def __str__(self) -> str:
        return f"{self.pipeline} {self.release_version}"

    @property
    def audit_name(self) -> str:
        """The name of the release in the audit log."""
        return f"{self.pipeline.pipeline_id}/{self.release_version}"

    def record(self, act: Act, actor: str, **details: Any) -> None:
        """Record an act on the release in the audit log of its tenant. See `audit.record`."""
        audit.record(act, **self.audited(actor=actor), **details)

    def audited(self, *_: Any, actor: str, **__: Any) -> dict[str, Any]:
        """Return the arguments of an entry of the audit log that name the release and the actor."""
        tenant, name = self.pipeline.tenant, self.audit_name
        return {"tenant": tenant, "actor": actor, "object_type": "release", "object": name}

    @property
    def identity(self) -> ReleaseIdentity:
        return ReleaseIdentity(
            self.pipeline.tenant.slug, self.pipeline.pipeline_id, self.contract_version, self.release_version
        )

    @property
    def search(self) -> dict[str, str]:
        """The paths of the fields of the input that can be searched, by name."""
        paths: dict[str, str] = self.declarations.get("search", {})
        return paths

    @property
    def profile(self) -> Profile:
        """The rules that the descriptor follows."""
        return profile_of(self.descriptor)

    @property
    def carrier_artifact_id(self) -> str | None:
        """The artifact that has the contract. None for the profile `tpf-2026-08`, which names none."""
        carrier: str | None = self.descriptor.get("compiledTruthArtifactId")
        return carrier

    @property
    def is_active(self) -> bool:
        return self.pipeline.activation is not None and self.pipeline.activation.release_id == self.pk


class Artifact(models.Model):
    """What a release pins by digest.

    `blob` is null if its bytes are not stored, for example for container images. The verification of the release sets
    it once, together with `resolved`, if it finds the bytes in a repository. Nothing else ever changes.
    """

    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="artifacts", db_index=False)
    position = models.PositiveSmallIntegerField()
    artifact_id = models.CharField(max_length=IDENTITY_LENGTH)
    kind = models.CharField(max_length=20, choices=[(kind.value, kind.value) for kind in ArtifactKind])
    uri = models.TextField()
    digest = models.CharField(max_length=IDENTITY_LENGTH)
    step_ids = ArrayField(models.TextField(), default=list)
    capabilities = ArrayField(models.TextField(), default=list)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, null=True, related_name="artifacts")
    resolved = models.BooleanField(default=False, help_text="Whether the verification found the bytes in a repository.")

    class Meta:
        ordering = ("release", "position")
        constraints = (
            models.UniqueConstraint(fields=("release", "position"), name="artifact_position_once"),
            models.CheckConstraint(
                condition=Q(blob=None) | Q(blob=models.F("digest")), name="artifact_blob_is_its_digest"
            ),
            models.CheckConstraint(
                condition=Q(blob=None) | Q(kind__in=[kind.value for kind in ArtifactKind if kind.is_stored]),
                name="artifact_bytes_of_stored_kind",
            ),
            models.CheckConstraint(
                condition=Q(resolved=False) | Q(blob__isnull=False), name="artifact_resolved_has_bytes"
            ),
        )

    def __str__(self) -> str:
        return self.artifact_id

    @property
    def environment(self) -> dict[str, Any] | None:
        """The Python environment that the artifact requires; None if it does not describe one."""
        described: dict[str, Any] | None = self.release.environments.get(self.digest)
        return described


class Revocation(models.Model):
    """The event that revoked a release permanently, with the order for its open executions.

    The order `leave` lets them run. The order `pause` pauses the release in the same transaction, so nothing is left to
    do afterwards. The order `fail` ends them with RELEASE_REVOKED: `failed_executions` counts those that were ended,
    and `completed_at` is set when none is left. Nothing else ever changes.
    """

    class OpenExecutions(models.TextChoices):
        LEAVE = "leave"
        PAUSE = "pause"
        FAIL = "fail"

    release = models.OneToOneField(Release, on_delete=models.PROTECT, related_name="revocation")
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000)
    revoked_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    open_executions = models.CharField(
        max_length=10, choices=OpenExecutions, default=OpenExecutions.LEAVE, db_default=OpenExecutions.LEAVE
    )
    failed_executions = models.PositiveIntegerField(default=0, db_default=0)
    completed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(condition=~Q(reason__regex=r"^\s*$"), name="revocation_says_why"),
            models.CheckConstraint(
                condition=Q(open_executions__in=["leave", "pause", "fail"]), name="revocation_order_known"
            ),
            models.CheckConstraint(
                condition=Q(open_executions="fail") | Q(failed_executions=0, completed_at__isnull=True),
                name="revocation_progress_of_order",
            ),
        )
        indexes = (
            models.Index(
                fields=("revoked_at",),
                condition=Q(open_executions="fail", completed_at__isnull=True),
                name="revocation_unfinished",
            ),
        )

    def __str__(self) -> str:
        return f"{self.release} revoked"


class Retirement(models.Model):
    """The append-only event that retired a release permanently. `given_up_failures` counts what was not re-driven."""

    release = models.OneToOneField(Release, on_delete=models.PROTECT, related_name="retirement")
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000)
    given_up_failures = models.PositiveIntegerField(default=0)
    retired_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        constraints = (models.CheckConstraint(condition=~Q(reason__regex=r"^\s*$"), name="retirement_says_why"),)

    def __str__(self) -> str:
        return f"{self.release} retired"


KEY_LENGTH = 200
"""The longest idempotency key, in characters."""


class Deployment(models.Model):
    """The receipt of a request that registered a release through the deployment API. It never changes.

    A request with the same key gets the same receipt, if it is about the same bytes and the same place.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="deployments", db_index=False)
    idempotency_key = models.CharField(max_length=KEY_LENGTH)
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="deployments")
    descriptor_digest = models.CharField(max_length=71)
    application = models.CharField(max_length=IDENTITY_LENGTH)
    environment = models.CharField(max_length=IDENTITY_LENGTH)
    actor = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "idempotency_key"), name="deployment_key_once"),
            models.CheckConstraint(
                condition=~Q(idempotency_key="") & ~Q(application="") & ~Q(environment=""),
                name="deployment_names_its_place",
            ),
        )
        indexes = (models.Index(fields=("tenant", "-created_at", "-id"), name="deployment_newest"),)

    def __str__(self) -> str:
        return f"{self.release} in {self.environment}"


class Attachment(models.Model):
    """A signature, provenance or SBOM that is attached to a release. Attachments are never changed or removed.

    `summary` and `findings` are what was read from `content` when it was attached. The database checks that `digest`
    is the digest of `content`, and limits the positions and so the number of attachments.
    """

    MAX_PER_RELEASE = 32

    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="attachments", db_index=False)
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=10, choices=[(kind.value, kind.value) for kind in AttachmentKind])
    digest = models.CharField(max_length=71)
    content = models.BinaryField()
    summary = models.JSONField()
    findings = models.JSONField(default=list)
    attached_by = models.CharField(max_length=200)
    attached_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("release", "position")
        constraints = (
            models.UniqueConstraint(fields=("release", "position"), name="attachment_position_once"),
            models.UniqueConstraint(fields=("release", "digest"), name="attachment_once"),
            models.CheckConstraint(condition=Q(position__lt=32), name="attachment_not_too_many"),
            models.CheckConstraint(
                condition=Q(kind__in=[kind.value for kind in AttachmentKind]), name="attachment_kind_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} of {self.release}"

    @property
    def contradicts(self) -> bool:
        """True if the document is about something other than the release."""
        return any(finding["severity"] == Severity.ERROR for finding in self.findings)


class TrustedKey(models.Model):
    """An ed25519 key whose signatures a tenant trusts until the key is revoked.

    Keys are never changed or removed, so a revoked key cannot be added again.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="trusted_keys", db_index=False)
    name = models.CharField(max_length=100)
    key_id = models.CharField(max_length=64)
    public_key = models.TextField()
    added_by = models.CharField(max_length=200)
    added_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("tenant", "name")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "name"), name="trusted_key_name_once"),
            models.UniqueConstraint(fields=("tenant", "key_id"), name="trusted_key_once"),
            models.CheckConstraint(condition=Q(key_id__regex=r"^[0-9a-f]{64}$"), name="trusted_key_id_well_formed"),
            models.CheckConstraint(condition=~Q(name__regex=r"^\s*$"), name="trusted_key_name_not_blank"),
        )

    def __str__(self) -> str:
        return self.name


class KeyRevocation(models.Model):
    """The append-only event that revoked a trusted key permanently."""

    key = models.OneToOneField(TrustedKey, on_delete=models.PROTECT, related_name="revocation")
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000)
    revoked_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        constraints = (models.CheckConstraint(condition=~Q(reason__regex=r"^\s*$"), name="key_revocation_says_why"),)

    def __str__(self) -> str:
        return f"{self.key} revoked"
