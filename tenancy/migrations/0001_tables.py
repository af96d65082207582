"""The tables of tenants, people's roles, tokens, quotas, pages and the audit log."""

from datetime import timedelta

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import TransactionNow
from django.contrib.postgres.indexes import HashIndex, OpClass
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.functions import Left

from foundation.database.create_tables import CreateTables
from tenancy.models import _failed_retention_days, _retention_days, validate_identifier

TABLES = [
    migrations.CreateModel(
        name="Tenant",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            (
                "slug",
                models.CharField(
                    max_length=63,
                    unique=True,
                    validators=[
                        RegexValidator(
                            "\\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\Z", "Use 1 to 63 of a-z, 0-9 and inner hyphens."
                        )
                    ],
                ),
            ),
            ("name", models.CharField(max_length=200, validators=[validate_identifier])),
            ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            (
                "retention_days",
                models.PositiveIntegerField(
                    blank=True,
                    default=_retention_days,
                    help_text="Older executions are permanently removed, with their histories. Empty: they are never removed.",
                    null=True,
                    validators=[MinValueValidator(1), MaxValueValidator(36500)],
                    verbose_name="days kept after success or cancellation",
                ),
            ),
            (
                "failed_retention_days",
                models.PositiveIntegerField(
                    blank=True,
                    default=_failed_retention_days,
                    help_text="The same for FAILED and DLQ executions, which can be re-driven until then.",
                    null=True,
                    validators=[MinValueValidator(1), MaxValueValidator(36500)],
                    verbose_name="days kept after failure",
                ),
            ),
            (
                "quota_submissions",
                models.BigIntegerField(
                    blank=True,
                    help_text="Further ones get 429 until the next second. Empty: no limit.",
                    null=True,
                    validators=[MinValueValidator(1), MaxValueValidator(9007199254740991)],
                    verbose_name="most submissions a second",
                ),
            ),
            (
                "quota_open_executions",
                models.BigIntegerField(
                    blank=True,
                    help_text="Submissions get 429 while this many have not ended. Empty: no limit.",
                    null=True,
                    validators=[MinValueValidator(1), MaxValueValidator(9007199254740991)],
                    verbose_name="most open executions",
                ),
            ),
            (
                "quota_payload_bytes",
                models.BigIntegerField(
                    blank=True,
                    help_text="Larger inputs are refused. Empty: no limit.",
                    null=True,
                    validators=[MinValueValidator(1), MaxValueValidator(9007199254740991)],
                    verbose_name="most bytes of an input",
                ),
            ),
            (
                "quota_storage_bytes",
                models.BigIntegerField(
                    blank=True,
                    help_text="Uploads beyond this are refused. Empty: no limit.",
                    null=True,
                    validators=[MinValueValidator(1), MaxValueValidator(9007199254740991)],
                    verbose_name="most stored bytes",
                ),
            ),
            (
                "quota_uploads",
                models.BigIntegerField(
                    blank=True,
                    help_text="Further uploads of releases get 429. Empty: no limit.",
                    null=True,
                    validators=[MinValueValidator(1), MaxValueValidator(9007199254740991)],
                    verbose_name="most uploads an hour",
                ),
            ),
            (
                "quota_workers",
                models.BigIntegerField(
                    blank=True,
                    help_text="Further workers are not registered. MAX_TENANT_WORKERS applies too. Empty: no limit.",
                    null=True,
                    validators=[MinValueValidator(1), MaxValueValidator(9007199254740991)],
                    verbose_name="most live workers",
                ),
            ),
        ],
        options={
            "ordering": ("slug",),
            "constraints": [
                models.CheckConstraint(
                    condition=Q(retention_days=None) | Q(retention_days__range=(1, 36500)), name="tenant_retention_days"
                ),
                models.CheckConstraint(
                    condition=Q(failed_retention_days=None) | Q(failed_retention_days__range=(1, 36500)),
                    name="tenant_failed_retention_days",
                ),
                models.CheckConstraint(
                    condition=Q(quota_submissions=None) | Q(quota_submissions__range=(1, 9007199254740991)),
                    name="tenant_quota_submissions",
                ),
                models.CheckConstraint(
                    condition=Q(quota_open_executions=None) | Q(quota_open_executions__range=(1, 9007199254740991)),
                    name="tenant_quota_open_executions",
                ),
                models.CheckConstraint(
                    condition=Q(quota_payload_bytes=None) | Q(quota_payload_bytes__range=(1, 9007199254740991)),
                    name="tenant_quota_payload_bytes",
                ),
                models.CheckConstraint(
                    condition=Q(quota_storage_bytes=None) | Q(quota_storage_bytes__range=(1, 9007199254740991)),
                    name="tenant_quota_storage_bytes",
                ),
                models.CheckConstraint(
                    condition=Q(quota_uploads=None) | Q(quota_uploads__range=(1, 9007199254740991)),
                    name="tenant_quota_uploads",
                ),
                models.CheckConstraint(
                    condition=Q(quota_workers=None) | Q(quota_workers__range=(1, 9007199254740991)),
                    name="tenant_quota_workers",
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="Allowance",
        fields=[
            (
                "tenant",
                models.OneToOneField(
                    "tenancy.tenant", models.CASCADE, primary_key=True, related_name="+", serialize=False
                ),
            ),
            ("second", models.DateTimeField()),
            ("granted", models.BigIntegerField()),
            ("settled", models.BigIntegerField()),
            ("counted_at", models.DateTimeField()),
        ],
        options={
            "constraints": [
                models.CheckConstraint(condition=Q(granted__gte=0, settled__gte=0), name="allowance_not_negative")
            ]
        },
    ),
    migrations.CreateModel(
        name="Grant",
        fields=[
            ("id", models.UUIDField(primary_key=True, serialize=False)),
            ("tenant", models.ForeignKey("tenancy.tenant", models.CASCADE, related_name="+")),
            ("permits", models.BigIntegerField()),
            ("expires_at", models.DateTimeField()),
        ],
        options={"constraints": [models.CheckConstraint(condition=Q(permits__gte=1), name="grant_has_permits")]},
    ),
    migrations.CreateModel(
        name="Membership",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            (
                "role",
                models.CharField(
                    choices=[
                        ("viewer", "Viewer"),
                        ("operator", "Operator"),
                        ("on-call", "On-call"),
                        ("release-manager", "Release manager"),
                        ("tenant-admin", "Tenant admin"),
                    ],
                    max_length=20,
                ),
            ),
            (
                "user",
                models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="memberships"),
            ),
            ("tenant", models.ForeignKey("tenancy.tenant", models.CASCADE, related_name="memberships")),
            ("invited", models.CharField(blank=True, db_default="", default="", max_length=150)),
        ],
        options={
            "verbose_name": "member",
            "ordering": ("tenant", "user", "role"),
            "constraints": [
                models.UniqueConstraint(fields=("user", "tenant", "role"), name="membership_once"),
                models.UniqueConstraint(
                    fields=("invited", "tenant", "role"), condition=Q(user=None), name="invitation_once"
                ),
                models.CheckConstraint(condition=Q(user=None) ^ Q(invited=""), name="membership_of_user_or_name"),
                models.CheckConstraint(
                    condition=Q(role__in=["viewer", "operator", "on-call", "release-manager", "tenant-admin"]),
                    name="membership_role_known",
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="ApiToken",
        fields=[
            ("digest", models.CharField(max_length=128, primary_key=True, serialize=False)),
            ("token_key", models.CharField(db_index=True, max_length=25)),
            ("created", models.DateTimeField(auto_now_add=True)),
            ("expiry", models.DateTimeField()),
            ("name", models.CharField(max_length=100, validators=[validate_identifier])),
            (
                "scopes",
                ArrayField(
                    base_field=models.CharField(
                        choices=[
                            ("read", "read"),
                            ("payloads:read", "payloads:read"),
                            ("executions:submit", "executions:submit"),
                            ("executions:operate", "executions:operate"),
                            ("interactions:complete", "interactions:complete"),
                            ("artifacts:read", "artifacts:read"),
                            ("releases:register", "releases:register"),
                            ("releases:activate", "releases:activate"),
                            ("releases:roll-back", "releases:roll-back"),
                            ("tenant:administer", "tenant:administer"),
                        ],
                        max_length=40,
                    ),
                    size=None,
                ),
            ),
            ("last_used_at", models.DateTimeField(editable=False, null=True)),
            ("user", models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="auth_token_set")),
            ("tenant", models.ForeignKey("tenancy.tenant", models.CASCADE, related_name="tokens")),
        ],
        options={
            "verbose_name": "API token",
            "ordering": ("tenant", "name"),
            "constraints": [
                models.UniqueConstraint(fields=("tenant", "name"), name="token_name_once"),
                models.CheckConstraint(
                    condition=Q(expiry__lte=F("created") + models.Value(timedelta(days=365))),
                    name="token_expires_within_a_year",
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="LoginCounter",
        fields=[
            ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
            ("attempts", models.PositiveIntegerField()),
            ("ends_at", models.DateTimeField(db_index=True)),
            ("known_until", models.DateTimeField(null=True)),
        ],
    ),
    migrations.CreateModel(
        name="SavedView",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("page", models.CharField(choices=[("executions", "Executions")], max_length=20)),
            ("name", models.CharField(max_length=60)),
            ("query", models.CharField(max_length=2000)),
            ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("owner", models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")),
            ("tenant", models.ForeignKey("tenancy.tenant", models.PROTECT, null=True, related_name="+")),
        ],
        options={
            "ordering": ("name", "id"),
            "constraints": [
                models.UniqueConstraint(
                    fields=("owner", "page", "name"), condition=Q(tenant__isnull=True), name="saved_view_own_once"
                ),
                models.UniqueConstraint(
                    fields=("tenant", "page", "name"), condition=Q(tenant__isnull=False), name="saved_view_shared_once"
                ),
                models.CheckConstraint(condition=Q(page__in=["executions"]), name="saved_view_page"),
                models.CheckConstraint(condition=Q(~Q(name=""), ~Q(query__startswith="?")), name="saved_view_form"),
            ],
        },
    ),
    migrations.CreateModel(
        name="Preferences",
        fields=[
            (
                "user",
                models.OneToOneField(
                    settings.AUTH_USER_MODEL,
                    models.CASCADE,
                    primary_key=True,
                    related_name="preferences",
                    serialize=False,
                ),
            ),
            ("time_zone", models.CharField(max_length=64)),
        ],
        options={
            "constraints": [
                models.CheckConstraint(
                    condition=Q(time_zone__regex="^[A-Za-z0-9_+/-]+$"), name="preferences_time_zone_form"
                )
            ]
        },
    ),
    migrations.CreateModel(
        name="AuditHead",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("sequence", models.BigIntegerField()),
            ("hash", models.CharField(max_length=64)),
            ("tenant", models.ForeignKey("tenancy.tenant", models.PROTECT, null=True, related_name="+")),
        ],
        options={
            "constraints": [
                models.UniqueConstraint(fields=("tenant",), nulls_distinct=False, name="audit_head_once"),
                models.CheckConstraint(condition=Q(sequence__gte=1), name="audit_head_from_one"),
            ]
        },
    ),
    migrations.CreateModel(
        name="AuditEntry",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("sequence", models.BigIntegerField()),
            ("at", models.DateTimeField()),
            ("actor", models.CharField(max_length=200)),
            ("act", models.CharField(max_length=60)),
            ("object_type", models.CharField(max_length=40)),
            ("object", models.CharField(max_length=1000)),
            (
                "outcome",
                models.CharField(
                    choices=[("granted", "Granted"), ("denied", "Denied"), ("failed", "Failed")], max_length=10
                ),
            ),
            ("reason", models.TextField()),
            ("request_id", models.CharField(max_length=64)),
            ("address", models.CharField(max_length=64)),
            ("details", models.TextField()),
            ("previous_hash", models.CharField(max_length=64)),
            ("hash", models.CharField(max_length=64)),
            ("tenant", models.ForeignKey("tenancy.tenant", models.PROTECT, null=True, related_name="+")),
        ],
        options={
            "verbose_name": "audit entry",
            "verbose_name_plural": "audit log",
            "ordering": ("-sequence",),
            "indexes": [
                models.Index(fields=["tenant", "act", "-sequence"], name="audit_act"),
                models.Index(fields=["tenant", "actor", "-sequence"], name="audit_actor"),
                models.Index(OpClass(Left("object", 200), name="text_pattern_ops"), name="audit_object"),
                HashIndex(fields=["request_id"], name="audit_request"),
                models.Index(fields=["at"], name="audit_time"),
                models.Index(
                    fields=["tenant", "-sequence"], condition=Q(outcome__in=["denied", "failed"]), name="audit_refused"
                ),
            ],
            "constraints": [
                models.UniqueConstraint(
                    fields=("tenant", "sequence"), nulls_distinct=False, name="audit_sequence_once"
                ),
                models.CheckConstraint(
                    condition=Q(outcome__in=["granted", "denied", "failed"]), name="audit_outcome_known"
                ),
                models.CheckConstraint(condition=Q(act__regex="^[a-z_]+(\\.[a-z_]+)*$"), name="audit_act_form"),
                models.CheckConstraint(
                    condition=Q(details__endswith="}", details__startswith="{"), name="audit_details_form"
                ),
            ],
        },
    ),
]


class Migration(migrations.Migration):
    initial = True
    # The last one of them, so that all come first: for each field that they alter, Django renders all related models.
    dependencies = [("auth", "0012_alter_user_first_name_max_length")]
    operations = [CreateTables(TABLES)]
