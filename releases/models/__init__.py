"""Pipelines, what they mean (contracts), what runs them (releases and artifacts), and which is active (activations).

A release's row never changes but for its status and verdict; an activation's row never changes at all. Triggers see
to both, and a pipeline's pointer can only ever name its newest activation.
"""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import Q

from releases.states import Status, UploadStatus
from releases.trust.evidence import Kind
from tenancy.models import Tenant
from wire.documents.descriptor import ArtifactKind
from wire.identity import ReleaseIdentity

IDENTITY_LENGTH = 500


class SignaturePolicy(models.TextChoices):
    """What an activation asks of the signatures over a release."""

    OFF = "off", "Signatures are shown and not asked for"
    WARN = "warn", "A release that no trusted key signed can be activated, with a warning"
    REQUIRE = "require", "A release can be activated only if a trusted key signed it"


class Pipeline(models.Model):
    """A tenant's pipeline and its policy. `activation` is the newest activation; null until the first."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="pipelines")
    pipeline_id = models.CharField(max_length=IDENTITY_LENGTH)
    reason_required = models.BooleanField(default=False, help_text="An activation must say why.")
    signature_policy = models.CharField(max_length=10, choices=SignaturePolicy, default=SignaturePolicy.OFF)
    validate_answers = models.BooleanField(
        default=True, help_text="An await's answer must fit the type that the contract names for it."
    )
    retry_limit = models.PositiveIntegerField(null=True, blank=True, help_text="How many retries; blank: the default.")
    retry_delay_seconds = models.FloatField(
        null=True, blank=True, help_text="The wait before the first retry; blank: the default."
    )
    retry_multiplier = models.FloatField(null=True, blank=True, help_text="How waits grow; blank: the default.")
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
            models.CheckConstraint(condition=~Q(pipeline_id__regex=r"^\s*$"), name="pipeline_id_not_blank"),
            models.CheckConstraint(
                condition=Q(signature_policy__in=SignaturePolicy.values), name="pipeline_signature_policy_known"
            ),
        )

    def __str__(self) -> str:
        return self.pipeline_id


class Contract(models.Model):
    """What a pipeline means at one contract version: the normalised document, immutable."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="contracts")
    contract_version = models.CharField(max_length=IDENTITY_LENGTH)
    document = models.JSONField()
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("pipeline", "contract_version"), name="contract_once"),)

    def __str__(self) -> str:
        return self.contract_version


class Blob(models.Model):
    """The bytes at one digest in the artifact store, and the last verdict on them.

    `fingerprint` is what the store told of the bytes (size, times, place) when they were last hashed: while it is
    unchanged they need not be hashed again. Rows are never deleted: REMOVED says that nothing needed the bytes.
    `checking_until` is the claim of whoever reads them now.
    """

    class State(models.TextChoices):
        SOUND = "SOUND"
        DAMAGED = "DAMAGED"
        MISSING = "MISSING"
        REMOVED = "REMOVED"

    digest = models.CharField(max_length=71, primary_key=True)
    size = models.BigIntegerField()
    state = models.CharField(max_length=10, choices=State, default=State.SOUND)
    fingerprint = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    checked_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    checking_until = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(digest__regex=r"^sha256:[0-9a-f]{64}$"), name="blob_digest_well_formed"),
            models.CheckConstraint(condition=Q(size__gte=0), name="blob_size_not_negative"),
            models.CheckConstraint(
                condition=Q(state__in=["SOUND", "DAMAGED", "MISSING", "REMOVED"]), name="blob_state_known"
            ),
        )
        indexes = (models.Index(fields=("checked_at",), condition=~Q(state="REMOVED"), name="blob_to_check"),)

    def __str__(self) -> str:
        return self.digest


class BlobEvent(models.Model):
    """The append-only history of what became of a blob's bytes. It names the digest and outlives the bytes."""

    class Kind(models.TextChoices):
        DAMAGED = "DAMAGED"
        MISSING = "MISSING"
        HEALED = "HEALED"
        REMOVED = "REMOVED"

    digest = models.CharField(max_length=71)
    kind = models.CharField(max_length=10, choices=Kind)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(kind__in=["DAMAGED", "MISSING", "HEALED", "REMOVED"]), name="blob_event_kind_known"
            ),
        )
        indexes = (models.Index(fields=("digest", "-id"), name="blob_history"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.digest}"


class ArtifactUpload(models.Model):
    """Bytes on their way straight to the artifact store, which a tenant declares by digest and size.

    `OPEN > VERIFYING > STORED | REJECTED`, and `OPEN > EXPIRED`. A tenant has one live upload of the same bytes.
    `storage_id` is the store's own id of the multipart upload; `cleared` says that nothing is left under the staging
    key, which is named by the row's id. `claimed_at` is when a process last claimed the upload to verify it, or
    renewed its claim.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="artifact_uploads")
    digest = models.CharField(max_length=71)
    size = models.BigIntegerField()
    part_size = models.BigIntegerField()
    storage_id = models.CharField(max_length=1024, default="", blank=True)
    status = models.CharField(max_length=10, choices=[(status.value, status.value) for status in UploadStatus])
    finding = models.JSONField(null=True)
    cleared = models.BooleanField(default=False)
    uploaded_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    expires_at = models.DateTimeField()
    status_changed_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    claimed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "digest", "size"),
                condition=Q(status__in=[UploadStatus.OPEN, UploadStatus.VERIFYING]),
                name="upload_live_once",
            ),
            models.CheckConstraint(
                condition=Q(digest__regex=r"^sha256:[0-9a-f]{64}$"), name="upload_digest_well_formed"
            ),
            models.CheckConstraint(condition=Q(size__gte=1) & Q(part_size__gte=1), name="upload_size_positive"),
            models.CheckConstraint(
                condition=Q(status__in=[status.value for status in UploadStatus]), name="upload_status_known"
            ),
            models.CheckConstraint(
                condition=Q(finding=None) | Q(status=UploadStatus.REJECTED), name="upload_finding_of_rejected"
            ),
        )
        indexes = (
            models.Index(
                fields=("status_changed_at",),
                condition=Q(status__in=[UploadStatus.OPEN, UploadStatus.VERIFYING]) | Q(cleared=False),
                name="upload_pending",
            ),
            models.Index(fields=("digest",), condition=Q(status=UploadStatus.STORED), name="upload_stored"),
        )

    def __str__(self) -> str:
        return f"{self.digest} by {self.uploaded_by}"


class Release(models.Model):
    """One deployable version of one contract.

    `UPLOADED > VERIFYING > REGISTERED | REJECTED`, and `REGISTERED > REVOKED`. Everything else is written once:
    the descriptor and the contract beside it at upload, the findings, contract and primary artifact with the
    verdict. A rejected upload leaves its release version free for another try, so at most one release that is not
    rejected has a version.
    """

    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="releases")
    contract_version = models.CharField(max_length=IDENTITY_LENGTH)
    release_version = models.CharField(max_length=IDENTITY_LENGTH)
    descriptor = models.JSONField()
    status = models.CharField(max_length=12, choices=[(status.value, status.value) for status in Status])
    findings = models.JSONField(default=list)
    contract_document = models.BinaryField(null=True, help_text="The contract beside the descriptor.")
    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, null=True, related_name="releases")
    primary_artifact_id = models.CharField(max_length=IDENTITY_LENGTH, default="", blank=True)
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
    def identity(self) -> ReleaseIdentity:
        return ReleaseIdentity(
            self.pipeline.tenant.slug, self.pipeline.pipeline_id, self.contract_version, self.release_version
        )

    @property
    def is_active(self) -> bool:
        return self.pipeline.activation is not None and self.pipeline.activation.release_id == self.pk


class Artifact(models.Model):
    """What a release pins by digest. `blob` is null for identities that stay elsewhere, such as container images."""

    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="artifacts")
    position = models.PositiveSmallIntegerField()
    artifact_id = models.CharField(max_length=IDENTITY_LENGTH)
    kind = models.CharField(max_length=20, choices=[(kind.value, kind.value) for kind in ArtifactKind])
    uri = models.TextField()
    digest = models.CharField(max_length=IDENTITY_LENGTH)
    step_ids = ArrayField(models.TextField(), default=list)
    capabilities = ArrayField(models.TextField(), default=list)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, null=True, related_name="artifacts")

    class Meta:
        ordering = ("release", "position")
        constraints = (
            models.UniqueConstraint(fields=("release", "position"), name="artifact_position_once"),
            models.CheckConstraint(
                condition=Q(blob=None) | Q(blob=models.F("digest")), name="artifact_blob_is_its_digest"
            ),
        )

    def __str__(self) -> str:
        return self.artifact_id


class Activation(models.Model):
    """The append-only event that makes a release the one that new executions get, ordered by `sequence` alone."""

    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="activations")
    sequence = models.PositiveIntegerField()
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="activations")
    previous = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="+")
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000, blank=True)
    operation_key = models.CharField(max_length=200, null=True)
    activated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        ordering = ("pipeline", "-sequence")
        constraints = (
            models.UniqueConstraint(fields=("pipeline", "sequence"), name="activation_sequence_once"),
            models.UniqueConstraint(fields=("pipeline", "operation_key"), name="activation_operation_once"),
            models.CheckConstraint(condition=Q(sequence__gte=1), name="activation_sequence_from_one"),
        )

    def __str__(self) -> str:
        return f"#{self.sequence} {self.release}"

    @property
    def is_rollback(self) -> bool:
        """True where it went back to a release that was uploaded before the one it replaced."""
        return self.previous_id is not None and self.release_id < self.previous_id


class Revocation(models.Model):
    """The append-only event that took a release out of use for good."""

    release = models.OneToOneField(Release, on_delete=models.PROTECT, related_name="revocation")
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000)
    revoked_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        constraints = (models.CheckConstraint(condition=~Q(reason__regex=r"^\s*$"), name="revocation_says_why"),)

    def __str__(self) -> str:
        return f"{self.release} revoked"


class Attachment(models.Model):
    """What was attached to a release: a signature, provenance or a bill of materials. Never changed or removed.

    `summary` and `findings` are what was read in `content` when it came. The database holds `digest` to `content`, and
    the positions bound how many a release may have.
    """

    MOST = 32

    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="attachments")
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=10, choices=[(kind.value, kind.value) for kind in Kind])
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
            models.CheckConstraint(condition=Q(kind__in=[kind.value for kind in Kind]), name="attachment_kind_known"),
        )

    def __str__(self) -> str:
        return f"{self.kind} of {self.release}"


class TrustedKey(models.Model):
    """An ed25519 key whose signatures a tenant trusts, until it is revoked. Never changed or removed.

    So a key that was revoked can never be added anew.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="trusted_keys")
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
    """The append-only event that took a trusted key out of use for good."""

    key = models.OneToOneField(TrustedKey, on_delete=models.PROTECT, related_name="revocation")
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=1000)
    revoked_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        constraints = (models.CheckConstraint(condition=~Q(reason__regex=r"^\s*$"), name="key_revocation_says_why"),)

    def __str__(self) -> str:
        return f"{self.key} revoked"
