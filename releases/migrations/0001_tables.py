"""The tables of pipelines, releases, artifacts and activations."""

import uuid
from datetime import timedelta

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import TransactionNow
from django.db import migrations, models
from django.db.models import F, Q

from foundation.database.create_tables import CreateTables

TABLES = [
    migrations.CreateModel(
        name="Pipeline",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("pipeline_id", models.CharField(max_length=500)),
            ("application", models.CharField(blank=True, default="", max_length=500)),
            (
                "reason_required",
                models.BooleanField(
                    default=False,
                ),
            ),
            (
                "signature_policy",
                models.CharField(
                    choices=[
                        ("off", "Signatures are displayed and not required"),
                        ("warn", "A release that no trusted key signed can be activated, with a warning"),
                        ("require", "A release can be activated only if a trusted key signed it"),
                    ],
                    default="off",
                    max_length=10,
                ),
            ),
            (
                "validate_answers",
                models.BooleanField(
                    default=True,
                ),
            ),
            (
                "unverified_workers",
                models.CharField(
                    choices=[
                        ("refuse", "Workers that host code from a folder get no work"),
                        ("allow", "Workers that host code from a folder get work"),
                    ],
                    default="refuse",
                    max_length=10,
                ),
            ),
            (
                "missing_artifacts",
                models.CharField(
                    choices=[
                        ("reject", "A release whose bytes cannot be had is rejected"),
                        (
                            "identity-only",
                            "A release whose bytes cannot be had is registered, and only identifies them",
                        ),
                    ],
                    default="reject",
                    max_length=15,
                ),
            ),
            (
                "retry_limit",
                models.PositiveIntegerField(blank=True, null=True),
            ),
            (
                "retry_delay_seconds",
                models.FloatField(blank=True, null=True),
            ),
            (
                "retry_multiplier",
                models.FloatField(blank=True, null=True),
            ),
            ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            (
                "activation",
                models.OneToOneField(
                    "releases.activation", models.PROTECT, editable=False, null=True, related_name="+"
                ),
            ),
            ("tenant", models.ForeignKey("tenancy.tenant", models.PROTECT, related_name="pipelines")),
            (
                "rollback_days",
                models.PositiveIntegerField(
                    default=30,
                ),
            ),
            (
                "worker_gate",
                models.CharField(
                    choices=[
                        ("require", "A release can be activated only if a worker may run it"),
                        ("warn", "A release that no worker may run can be activated, with a warning"),
                        ("off", "Activations do not check workers"),
                    ],
                    default="require",
                    max_length=10,
                ),
            ),
            (
                "approvals",
                models.PositiveIntegerField(
                    db_default=0,
                    default=0,
                ),
            ),
            (
                "approval_hours",
                models.PositiveIntegerField(
                    db_default=72,
                    default=72,
                ),
            ),
            (
                "emergency_override",
                models.BooleanField(
                    db_default=False,
                    default=False,
                ),
            ),
            (
                "smoke_test_hours",
                models.PositiveIntegerField(
                    blank=True,
                    null=True,
                ),
            ),
            (
                "skew_grace_minutes",
                models.PositiveIntegerField(
                    default=0,
                ),
            ),
            (
                "repeat_unknown_outcomes",
                models.BooleanField(
                    db_default=False,
                    default=False,
                ),
            ),
            (
                "verification_hours",
                models.PositiveIntegerField(
                    db_default=24,
                    default=24,
                ),
            ),
        ],
        options={
            "ordering": ("tenant", "pipeline_id"),
            "constraints": [
                models.UniqueConstraint(fields=("tenant", "pipeline_id"), name="pipeline_once"),
                models.CheckConstraint(
                    condition=Q(
                        Q(retry_delay_seconds=None) | Q(retry_delay_seconds__gte=0),
                        Q(retry_multiplier=None) | Q(retry_multiplier__gte=1),
                    ),
                    name="pipeline_retries_sane",
                ),
                models.CheckConstraint(condition=Q(rollback_days__range=(1, 3650)), name="pipeline_rollback_days"),
                models.CheckConstraint(
                    condition=Q(smoke_test_hours=None) | Q(smoke_test_hours__range=(1, 8760)),
                    name="pipeline_smoke_test_hours",
                ),
                models.CheckConstraint(
                    condition=Q(skew_grace_minutes__range=(0, 43200)), name="pipeline_skew_grace_minutes"
                ),
                models.CheckConstraint(condition=~Q(pipeline_id__regex="^\\s*$"), name="pipeline_id_not_blank"),
                models.CheckConstraint(
                    condition=Q(signature_policy__in=["off", "warn", "require"]), name="pipeline_signature_policy_known"
                ),
                models.CheckConstraint(
                    condition=Q(worker_gate__in=["require", "warn", "off"]), name="pipeline_worker_gate_known"
                ),
                models.CheckConstraint(condition=Q(approvals__range=(0, 10)), name="pipeline_approvals"),
                models.CheckConstraint(condition=Q(approval_hours__range=(1, 720)), name="pipeline_approval_hours"),
                models.CheckConstraint(
                    condition=Q(missing_artifacts__in=["reject", "identity-only"]),
                    name="pipeline_missing_artifacts_known",
                ),
                models.CheckConstraint(
                    condition=Q(verification_hours__range=(1, 720)), name="pipeline_verification_hours"
                ),
                models.CheckConstraint(
                    condition=Q(unverified_workers__in=["refuse", "allow"]), name="pipeline_unverified_workers_known"
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="Blob",
        fields=[
            ("digest", models.CharField(max_length=71, primary_key=True, serialize=False)),
            ("size", models.BigIntegerField()),
            (
                "state",
                models.CharField(
                    choices=[
                        ("SOUND", "Sound"),
                        ("DAMAGED", "Damaged"),
                        ("MISSING", "Missing"),
                        ("REMOVED", "Removed"),
                    ],
                    default="SOUND",
                    max_length=10,
                ),
            ),
            ("fingerprint", models.CharField(max_length=200)),
            ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("checked_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("checking_until", models.DateTimeField(null=True)),
        ],
        options={
            "indexes": [models.Index(fields=["checked_at"], condition=~Q(state="REMOVED"), name="blob_to_check")],
            "constraints": [
                models.CheckConstraint(
                    condition=Q(digest__regex="^sha256:[0-9a-f]{64}$"), name="blob_digest_well_formed"
                ),
                models.CheckConstraint(condition=Q(size__gte=0), name="blob_size_not_negative"),
                models.CheckConstraint(
                    condition=Q(state__in=["SOUND", "DAMAGED", "MISSING", "REMOVED"]), name="blob_state_known"
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="BlobLease",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("resource", models.CharField(max_length=71)),
            ("holder", models.UUIDField()),
            ("exclusive", models.BooleanField()),
            ("expires_at", models.DateTimeField()),
        ],
        options={
            "indexes": [models.Index(fields=["resource"], name="blob_lease_of_resource")],
            "constraints": [
                models.CheckConstraint(
                    condition=Q(resource__regex="^(sha256:[0-9a-f]{64}|scrub|removals)$"),
                    name="blob_lease_resource_known",
                ),
                models.UniqueConstraint(fields=("holder", "resource"), name="blob_lease_once"),
            ],
        },
    ),
    migrations.CreateModel(
        name="BlobEvent",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("digest", models.CharField(max_length=71)),
            (
                "kind",
                models.CharField(
                    choices=[
                        ("DAMAGED", "Damaged"),
                        ("MISSING", "Missing"),
                        ("HEALED", "Healed"),
                        ("REMOVED", "Removed"),
                    ],
                    max_length=10,
                ),
            ),
            ("data", models.JSONField(default=dict)),
            ("at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
        ],
        options={
            "ordering": ("-id",),
            "indexes": [models.Index(fields=["digest", "-id"], name="blob_history")],
            "constraints": [
                models.CheckConstraint(
                    condition=Q(kind__in=["DAMAGED", "MISSING", "HEALED", "REMOVED"]), name="blob_event_kind_known"
                )
            ],
        },
    ),
    migrations.CreateModel(
        name="Contract",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("contract_version", models.CharField(max_length=500)),
            ("document", models.JSONField()),
            ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("pipeline", models.ForeignKey("releases.pipeline", models.PROTECT, related_name="contracts")),
        ],
        options={
            "constraints": [models.UniqueConstraint(fields=("pipeline", "contract_version"), name="contract_once")]
        },
    ),
    migrations.CreateModel(
        name="Release",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("contract_version", models.CharField(max_length=500)),
            ("release_version", models.CharField(max_length=500)),
            ("descriptor", models.JSONField()),
            ("descriptor_document", models.BinaryField(help_text="The exact bytes of the descriptor.")),
            ("descriptor_digest", models.CharField(help_text="The SHA-256 of these bytes.", max_length=71)),
            (
                "status",
                models.CharField(
                    choices=[
                        ("UPLOADED", "UPLOADED"),
                        ("VERIFYING", "VERIFYING"),
                        ("REGISTERED", "REGISTERED"),
                        ("REJECTED", "REJECTED"),
                        ("REVOKED", "REVOKED"),
                        ("RETIRED", "RETIRED"),
                    ],
                    max_length=12,
                ),
            ),
            ("findings", models.JSONField(default=list)),
            ("contract_document", models.BinaryField(help_text="The contract document of the upload.", null=True)),
            ("primary_artifact_id", models.CharField(blank=True, default="", max_length=500)),
            (
                "environments",
                models.JSONField(
                    default=dict, help_text="The environments that the artifacts require, by the artifact's digest."
                ),
            ),
            (
                "checkpoints",
                models.BooleanField(
                    default=False, help_text="Whether an artifact requests a checkpoint after each step."
                ),
            ),
            ("uploaded_by", models.CharField(max_length=200)),
            ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("status_changed_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("contract", models.ForeignKey("releases.contract", models.PROTECT, null=True, related_name="releases")),
            ("pipeline", models.ForeignKey("releases.pipeline", models.PROTECT, related_name="releases")),
            (
                "progress",
                models.JSONField(
                    db_default={},
                    default=dict,
                    help_text="What the verification knows about each artifact so far, by the artifact's position.",
                ),
            ),
        ],
        options={
            "ordering": ("-id",),
            "indexes": [
                models.Index(
                    fields=["status_changed_at"],
                    condition=Q(status__in=["UPLOADED", "VERIFYING"]),
                    name="release_pending",
                )
            ],
            "constraints": [
                models.UniqueConstraint(
                    fields=("pipeline", "release_version"), condition=~Q(status="REJECTED"), name="release_once"
                ),
                models.CheckConstraint(
                    condition=Q(status__in=["UPLOADED", "VERIFYING", "REGISTERED", "REJECTED", "REVOKED", "RETIRED"]),
                    name="release_status_known",
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="Artifact",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("position", models.PositiveSmallIntegerField()),
            ("artifact_id", models.CharField(max_length=500)),
            (
                "kind",
                models.CharField(
                    choices=[
                        ("jar", "jar"),
                        ("local-file", "local-file"),
                        ("native-binary", "native-binary"),
                        ("lambda-zip", "lambda-zip"),
                        ("container-image", "container-image"),
                        ("lambda-image", "lambda-image"),
                        ("external-endpoint", "external-endpoint"),
                        ("application-archive", "application-archive"),
                        ("compiled-truth", "compiled-truth"),
                    ],
                    max_length=20,
                ),
            ),
            ("uri", models.TextField()),
            ("digest", models.CharField(max_length=500)),
            ("step_ids", ArrayField(base_field=models.TextField(), default=list, size=None)),
            ("capabilities", ArrayField(base_field=models.TextField(), default=list, size=None)),
            ("blob", models.ForeignKey("releases.blob", models.PROTECT, null=True, related_name="artifacts")),
            (
                "resolved",
                models.BooleanField(
                    default=False, help_text="Whether the verification found the bytes in a repository."
                ),
            ),
            ("release", models.ForeignKey("releases.release", models.PROTECT, related_name="artifacts")),
        ],
        options={
            "ordering": ("release", "position"),
            "constraints": [
                models.UniqueConstraint(fields=("release", "position"), name="artifact_position_once"),
                models.CheckConstraint(
                    condition=Q(blob=None) | Q(blob=F("digest")), name="artifact_blob_is_its_digest"
                ),
                models.CheckConstraint(
                    condition=Q(blob=None)
                    | Q(
                        kind__in=[
                            "jar",
                            "local-file",
                            "native-binary",
                            "lambda-zip",
                            "application-archive",
                            "compiled-truth",
                        ]
                    ),
                    name="artifact_bytes_of_stored_kind",
                ),
                models.CheckConstraint(
                    condition=Q(resolved=False) | Q(blob__isnull=False), name="artifact_resolved_has_bytes"
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="Revocation",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("actor", models.CharField(max_length=200)),
            ("reason", models.CharField(max_length=1000)),
            ("revoked_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("release", models.OneToOneField("releases.release", models.PROTECT, related_name="revocation")),
            (
                "open_executions",
                models.CharField(
                    choices=[("leave", "Leave"), ("pause", "Pause"), ("fail", "Fail")],
                    db_default="leave",
                    default="leave",
                    max_length=10,
                ),
            ),
            ("failed_executions", models.PositiveIntegerField(db_default=0, default=0)),
            ("completed_at", models.DateTimeField(null=True)),
        ],
        options={
            "indexes": [
                models.Index(
                    fields=["revoked_at"],
                    condition=Q(completed_at__isnull=True, open_executions="fail"),
                    name="revocation_unfinished",
                )
            ],
            "constraints": [
                models.CheckConstraint(condition=~Q(reason__regex="^\\s*$"), name="revocation_says_why"),
                models.CheckConstraint(
                    condition=Q(open_executions__in=["leave", "pause", "fail"]), name="revocation_order_known"
                ),
                models.CheckConstraint(
                    condition=Q(open_executions="fail") | Q(completed_at__isnull=True, failed_executions=0),
                    name="revocation_progress_of_order",
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="Retirement",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("actor", models.CharField(max_length=200)),
            ("reason", models.CharField(max_length=1000)),
            ("given_up_failures", models.PositiveIntegerField(default=0)),
            ("retired_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("release", models.OneToOneField("releases.release", models.PROTECT, related_name="retirement")),
        ],
        options={
            "constraints": [models.CheckConstraint(condition=~Q(reason__regex="^\\s*$"), name="retirement_says_why")]
        },
    ),
    migrations.CreateModel(
        name="Activation",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("sequence", models.PositiveIntegerField()),
            ("actor", models.CharField(max_length=200)),
            ("reason", models.CharField(blank=True, max_length=1000)),
            ("operation_key", models.CharField(max_length=200, null=True)),
            ("activated_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("pipeline", models.ForeignKey("releases.pipeline", models.PROTECT, related_name="activations")),
            ("previous", models.ForeignKey("releases.release", models.PROTECT, null=True, related_name="+")),
            ("release", models.ForeignKey("releases.release", models.PROTECT, related_name="activations")),
            (
                "kind",
                models.CharField(
                    choices=[
                        ("activation", "Activation"),
                        ("rollback", "Rollback"),
                        ("gradual", "Gradual activation"),
                        ("promotion", "Promotion"),
                        ("withdrawal", "Withdrawal"),
                    ],
                    default="activation",
                    max_length=10,
                ),
            ),
            ("override", models.BooleanField(db_default=False, default=False)),
            (
                "request",
                models.OneToOneField(
                    "releases.activationrequest", models.PROTECT, editable=False, null=True, related_name="activation"
                ),
            ),
            (
                "candidate",
                models.ForeignKey("releases.release", models.PROTECT, db_index=False, null=True, related_name="+"),
            ),
            ("share", models.DecimalField(decimal_places=2, max_digits=5, null=True)),
            (
                "gradual",
                models.ForeignKey(
                    "releases.gradualactivation", models.PROTECT, db_index=False, null=True, related_name="activations"
                ),
            ),
        ],
        options={
            "ordering": ("pipeline", "-sequence"),
            "constraints": [
                models.UniqueConstraint(fields=("pipeline", "sequence"), name="activation_sequence_once"),
                models.UniqueConstraint(fields=("pipeline", "operation_key"), name="activation_operation_once"),
                models.CheckConstraint(condition=Q(sequence__gte=1), name="activation_sequence_from_one"),
                models.CheckConstraint(
                    condition=Q(kind__in=["activation", "rollback", "gradual", "promotion", "withdrawal"]),
                    name="activation_kind_known",
                ),
                models.CheckConstraint(
                    condition=~Q(kind="rollback") | ~Q(reason__regex="^\\s*$"), name="activation_rollback_says_why"
                ),
                models.CheckConstraint(
                    condition=Q(override=False) | Q(~Q(reason__regex="^\\s*$"), ("request", None)),
                    name="activation_override_says_why",
                ),
                models.CheckConstraint(
                    condition=Q(
                        candidate__isnull=False,
                        gradual__isnull=False,
                        kind="gradual",
                        share__isnull=False,
                        share__range=(0, 100),
                    )
                    | Q(
                        candidate__isnull=True,
                        gradual__isnull=False,
                        kind__in=("promotion", "withdrawal"),
                        share__isnull=True,
                    )
                    | Q(
                        ~Q(kind__in=("gradual", "promotion", "withdrawal")),
                        ("candidate__isnull", True),
                        ("gradual__isnull", True),
                        ("share__isnull", True),
                    ),
                    name="activation_routes_by_kind",
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="ActivationRequest",
        fields=[
            ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
            ("pipeline", models.ForeignKey("releases.pipeline", models.PROTECT, related_name="activation_requests")),
            ("release", models.ForeignKey("releases.release", models.PROTECT, related_name="activation_requests")),
            ("base", models.ForeignKey("releases.activation", models.PROTECT, null=True, related_name="+")),
            ("policy", models.JSONField()),
            ("round", models.PositiveIntegerField(default=1)),
            ("moved", models.JSONField(default=list)),
            ("requester", models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")),
            ("actor", models.CharField(max_length=200)),
            ("reason", models.CharField(max_length=1000)),
            ("operation_key", models.CharField(max_length=200, null=True)),
            ("activate_at", models.DateTimeField(null=True)),
            ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("expires_at", models.DateTimeField()),
            (
                "status",
                models.CharField(
                    choices=[
                        ("OPEN", "OPEN"),
                        ("APPROVED", "APPROVED"),
                        ("ACTIVATED", "ACTIVATED"),
                        ("REFUSED", "REFUSED"),
                        ("WITHDRAWN", "WITHDRAWN"),
                        ("EXPIRED", "EXPIRED"),
                        ("FAILED", "FAILED"),
                    ],
                    max_length=10,
                ),
            ),
            ("status_changed_at", models.DateTimeField(db_default=TransactionNow())),
            ("code", models.CharField(db_default="", default="", max_length=60)),
            ("detail", models.CharField(db_default="", default="", max_length=2000)),
            ("ended_by", models.CharField(db_default="", default="", max_length=200)),
            ("plan", models.JSONField(null=True)),
        ],
        options={
            "ordering": ("-created_at", "-id"),
            "indexes": [
                models.Index(fields=["expires_at"], condition=Q(status="OPEN"), name="activation_request_open"),
                models.Index(
                    fields=["activate_at"], condition=Q(status="APPROVED"), name="activation_request_approved"
                ),
            ],
            "constraints": [
                models.UniqueConstraint(fields=("pipeline", "operation_key"), name="activation_request_operation_once"),
                models.CheckConstraint(
                    condition=Q(
                        status__in=["OPEN", "APPROVED", "ACTIVATED", "REFUSED", "WITHDRAWN", "EXPIRED", "FAILED"]
                    ),
                    name="activation_request_status_known",
                ),
                models.CheckConstraint(condition=~Q(reason__regex="^\\s*$"), name="activation_request_says_why"),
                models.CheckConstraint(condition=Q(round__gte=1), name="activation_request_round_from_one"),
                models.CheckConstraint(
                    condition=Q(
                        ("expires_at__gt", F("created_at")),
                        Q(activate_at=None)
                        | Q(
                            activate_at__gt=F("created_at"),
                            activate_at__lte=F("created_at") + models.Value(timedelta(days=366)),
                        ),
                    ),
                    name="activation_request_times",
                ),
                models.CheckConstraint(
                    condition=Q(("status", "FAILED"), ~Q(code=""), ~Q(detail=""), ("ended_by", ""))
                    | Q(("code", ""), ("status", "WITHDRAWN"), ~Q(detail__regex="^\\s*$"), ~Q(ended_by=""))
                    | Q(~Q(status__in=["FAILED", "WITHDRAWN"]), ("code", ""), ("detail", ""), ("ended_by", "")),
                    name="activation_request_end_says_why",
                ),
                models.CheckConstraint(
                    condition=Q(plan__isnull=True) | Q(plan__has_keys=["steps", "groups", "bounds"]),
                    name="activation_request_plan_is_complete",
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="Vote",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("request", models.ForeignKey("releases.activationrequest", models.PROTECT, related_name="votes")),
            ("round", models.PositiveIntegerField()),
            ("voter", models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")),
            ("actor", models.CharField(max_length=200)),
            ("decision", models.CharField(choices=[("approve", "Approve"), ("refuse", "Refuse")], max_length=10)),
            ("comment", models.CharField(blank=True, default="", max_length=1000)),
            ("voted_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
        ],
        options={
            "ordering": ("id",),
            "constraints": [
                models.UniqueConstraint(fields=("request", "round", "voter"), name="vote_once"),
                models.CheckConstraint(condition=Q(decision__in=["approve", "refuse"]), name="vote_decision_known"),
            ],
        },
    ),
    migrations.CreateModel(
        name="Attachment",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("position", models.PositiveSmallIntegerField()),
            (
                "kind",
                models.CharField(
                    choices=[("signature", "signature"), ("provenance", "provenance"), ("sbom", "sbom")], max_length=10
                ),
            ),
            ("digest", models.CharField(max_length=71)),
            ("content", models.BinaryField()),
            ("summary", models.JSONField()),
            ("findings", models.JSONField(default=list)),
            ("attached_by", models.CharField(max_length=200)),
            ("attached_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("release", models.ForeignKey("releases.release", models.PROTECT, related_name="attachments")),
        ],
        options={
            "ordering": ("release", "position"),
            "constraints": [
                models.UniqueConstraint(fields=("release", "position"), name="attachment_position_once"),
                models.UniqueConstraint(fields=("release", "digest"), name="attachment_once"),
                models.CheckConstraint(condition=Q(position__lt=32), name="attachment_not_too_many"),
                models.CheckConstraint(
                    condition=Q(kind__in=["signature", "provenance", "sbom"]), name="attachment_kind_known"
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="Deployment",
        fields=[
            ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
            ("idempotency_key", models.CharField(max_length=200)),
            ("descriptor_digest", models.CharField(max_length=71)),
            ("application", models.CharField(max_length=500)),
            ("environment", models.CharField(max_length=500)),
            ("actor", models.CharField(max_length=200)),
            ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("release", models.ForeignKey("releases.release", models.PROTECT, related_name="deployments")),
            ("tenant", models.ForeignKey("tenancy.tenant", models.PROTECT, related_name="deployments")),
        ],
        options={
            "ordering": ("-created_at", "-id"),
            "indexes": [models.Index(fields=["tenant", "-created_at", "-id"], name="deployment_newest")],
            "constraints": [
                models.UniqueConstraint(fields=("tenant", "idempotency_key"), name="deployment_key_once"),
                models.CheckConstraint(
                    condition=Q(~Q(idempotency_key=""), ~Q(application=""), ~Q(environment="")),
                    name="deployment_names_its_place",
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="GradualActivation",
        fields=[
            ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
            ("steps", models.JSONField()),
            ("groups", models.JSONField()),
            ("bounds", models.JSONField()),
            ("step", models.PositiveSmallIntegerField(db_default=0, default=0)),
            ("step_started_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            (
                "status",
                models.CharField(
                    choices=[
                        ("RUNNING", "Running"),
                        ("PROMOTED", "Promoted"),
                        ("WITHDRAWN", "Withdrawn"),
                        ("REPLACED", "Replaced"),
                    ],
                    db_default="RUNNING",
                    default="RUNNING",
                    max_length=10,
                ),
            ),
            (
                "cause",
                models.CharField(
                    choices=[
                        ("person", "Person"),
                        ("failures", "Failures"),
                        ("duration", "Duration"),
                        ("revocation", "Revocation"),
                        ("activation", "Activation"),
                    ],
                    max_length=10,
                    null=True,
                ),
            ),
            ("actor", models.CharField(max_length=200)),
            ("reason", models.CharField(blank=True, max_length=1000)),
            ("started_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("ended_by", models.CharField(max_length=200, null=True)),
            ("end_reason", models.CharField(max_length=1000, null=True)),
            ("ended_at", models.DateTimeField(null=True)),
            ("baseline", models.ForeignKey("releases.release", models.PROTECT, db_index=False, related_name="+")),
            ("candidate", models.ForeignKey("releases.release", models.PROTECT, db_index=False, related_name="+")),
            (
                "pipeline",
                models.ForeignKey(
                    "releases.pipeline", models.PROTECT, db_index=False, related_name="gradual_activations"
                ),
            ),
        ],
        options={
            "ordering": ("-started_at", "-id"),
            "indexes": [models.Index(fields=["pipeline", "-started_at", "-id"], name="gradual_activation_newest")],
            "constraints": [
                models.UniqueConstraint(
                    fields=("pipeline",), condition=Q(status="RUNNING"), name="gradual_activation_one_running"
                ),
                models.CheckConstraint(
                    condition=~Q(baseline=F("candidate")), name="gradual_activation_of_another_release"
                ),
                models.CheckConstraint(
                    condition=Q(
                        cause__isnull=True,
                        end_reason__isnull=True,
                        ended_at__isnull=True,
                        ended_by__isnull=True,
                        status="RUNNING",
                    )
                    | Q(
                        ~Q(status="RUNNING"),
                        ("cause__isnull", False),
                        ("end_reason__isnull", False),
                        ("ended_at__isnull", False),
                        ("ended_by__isnull", False),
                    ),
                    name="gradual_activation_end_is_complete",
                ),
                models.CheckConstraint(
                    condition=Q(status="RUNNING")
                    | Q(cause="person", status="PROMOTED")
                    | Q(cause__in=["person", "failures", "duration", "revocation"], status="WITHDRAWN")
                    | Q(cause="activation", status="REPLACED"),
                    name="gradual_activation_cause_of_status",
                ),
                models.CheckConstraint(
                    condition=~Q(status="WITHDRAWN") | ~Q(end_reason__regex="^\\s*$"),
                    name="gradual_activation_withdrawal_says_why",
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="TrustedKey",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("name", models.CharField(max_length=100)),
            ("key_id", models.CharField(max_length=64)),
            ("public_key", models.TextField()),
            ("added_by", models.CharField(max_length=200)),
            ("added_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("tenant", models.ForeignKey("tenancy.tenant", models.PROTECT, related_name="trusted_keys")),
        ],
        options={
            "ordering": ("tenant", "name"),
            "constraints": [
                models.UniqueConstraint(fields=("tenant", "name"), name="trusted_key_name_once"),
                models.UniqueConstraint(fields=("tenant", "key_id"), name="trusted_key_once"),
                models.CheckConstraint(condition=Q(key_id__regex="^[0-9a-f]{64}$"), name="trusted_key_id_well_formed"),
                models.CheckConstraint(condition=~Q(name__regex="^\\s*$"), name="trusted_key_name_not_blank"),
            ],
        },
    ),
    migrations.CreateModel(
        name="KeyRevocation",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("actor", models.CharField(max_length=200)),
            ("reason", models.CharField(max_length=1000)),
            ("revoked_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("key", models.OneToOneField("releases.trustedkey", models.PROTECT, related_name="revocation")),
        ],
        options={
            "constraints": [
                models.CheckConstraint(condition=~Q(reason__regex="^\\s*$"), name="key_revocation_says_why")
            ]
        },
    ),
    migrations.CreateModel(
        name="ArtifactUpload",
        fields=[
            ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
            ("digest", models.CharField(max_length=71)),
            ("size", models.BigIntegerField()),
            ("part_size", models.BigIntegerField()),
            ("storage_id", models.CharField(blank=True, default="", max_length=1024)),
            (
                "status",
                models.CharField(
                    choices=[
                        ("OPEN", "OPEN"),
                        ("VERIFYING", "VERIFYING"),
                        ("STORED", "STORED"),
                        ("REJECTED", "REJECTED"),
                        ("EXPIRED", "EXPIRED"),
                    ],
                    max_length=10,
                ),
            ),
            ("finding", models.JSONField(null=True)),
            ("cleared", models.BooleanField(default=False)),
            ("uploaded_by", models.CharField(max_length=200)),
            ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("expires_at", models.DateTimeField()),
            ("status_changed_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("claimed_at", models.DateTimeField(null=True)),
            ("tenant", models.ForeignKey("tenancy.tenant", models.PROTECT, related_name="artifact_uploads")),
        ],
        options={
            "indexes": [
                models.Index(
                    fields=["status_changed_at"],
                    condition=Q(status__in=["OPEN", "VERIFYING"]) | Q(cleared=False),
                    name="upload_pending",
                ),
                models.Index(fields=["digest"], condition=Q(status="STORED"), name="upload_stored"),
            ],
            "constraints": [
                models.UniqueConstraint(
                    fields=("tenant", "digest", "size"),
                    condition=Q(status__in=["OPEN", "VERIFYING"]),
                    name="upload_live_once",
                ),
                models.CheckConstraint(
                    condition=Q(digest__regex="^sha256:[0-9a-f]{64}$"), name="upload_digest_well_formed"
                ),
                models.CheckConstraint(
                    condition=Q(("size__gte", 1), ("part_size__gte", 1)), name="upload_size_positive"
                ),
                models.CheckConstraint(
                    condition=Q(status__in=["OPEN", "VERIFYING", "STORED", "REJECTED", "EXPIRED"]),
                    name="upload_status_known",
                ),
                models.CheckConstraint(
                    condition=Q(finding=None) | Q(status="REJECTED"), name="upload_finding_of_rejected"
                ),
            ],
        },
    ),
]


class Migration(migrations.Migration):
    initial = True
    # Those of knox come first: for each field that they alter, Django renders all related models.
    dependencies = [("tenancy", "0001_tables"), ("knox", "0009_extend_authtoken_field")]
    operations = [CreateTables(TABLES)]
