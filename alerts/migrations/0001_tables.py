"""The tables of alert rules, their channels, the alerts and their messages."""

import uuid

from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import migrations, models
from django.db.models import Q

from foundation.database.create_tables import CreateTables

TABLES = [
    migrations.CreateModel(
        name="AlertChannel",
        fields=[
            ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
            ("name", models.CharField(max_length=100)),
            (
                "kind",
                models.CharField(
                    choices=[("webhook", "Webhook"), ("email", "E-mail"), ("slack", "Slack")], max_length=10
                ),
            ),
            ("address", models.CharField(blank=True, max_length=2000)),
            ("secret", models.CharField(blank=True, max_length=100)),
            ("enabled", models.BooleanField(default=True)),
            ("created_by", models.CharField(max_length=200)),
            ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("removed_at", models.DateTimeField(null=True)),
            (
                "tenant",
                models.ForeignKey("tenancy.tenant", models.PROTECT, db_index=False, related_name="alert_channels"),
            ),
        ],
        options={
            "ordering": ("name", "id"),
            "constraints": [
                models.UniqueConstraint(
                    fields=("tenant", "name"), condition=Q(removed_at=None), name="alert_channel_name_once"
                ),
                models.CheckConstraint(
                    condition=Q(("address", ""), ("kind", "slack"), ~Q(secret=""))
                    | Q(("kind", "webhook"), ~Q(address=""))
                    | Q(("kind", "email"), ("secret", ""), ~Q(address="")),
                    name="alert_channel_has_address",
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="AlertRule",
        fields=[
            ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
            ("name", models.CharField(max_length=100)),
            (
                "kind",
                models.CharField(
                    choices=[
                        ("newFailureGroup", "New failure group"),
                        ("failureRate", "Failure rate"),
                        ("stranded", "Stranded work"),
                        ("awaitDeadline", "Deadline of a question"),
                        ("blobDamaged", "Damaged artifact"),
                        ("workerLost", "Lost worker"),
                        ("approvalWanted", "Approval wanted"),
                        ("gradualWithdrawn", "Gradual activation withdrawn"),
                        ("scheduleMissed", "Missed schedule"),
                    ],
                    max_length=20,
                ),
            ),
            ("thresholds", models.JSONField(default=dict)),
            ("enabled", models.BooleanField(default=True)),
            ("silenced_until", models.DateTimeField(null=True)),
            ("created_by", models.CharField(max_length=200)),
            ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("removed_at", models.DateTimeField(null=True)),
            ("pipeline", models.ForeignKey("releases.pipeline", models.PROTECT, null=True, related_name="alert_rules")),
            ("tenant", models.ForeignKey("tenancy.tenant", models.PROTECT, db_index=False, related_name="alert_rules")),
            (
                "channels",
                models.ManyToManyField(related_name="rules", through="alerts.RuleChannel", to="alerts.alertchannel"),
            ),
        ],
        options={
            "ordering": ("name", "id"),
            "constraints": [
                models.UniqueConstraint(
                    fields=("tenant", "name"), condition=Q(removed_at=None), name="alert_rule_name_once"
                ),
                models.CheckConstraint(
                    condition=Q(
                        kind__in=[
                            "newFailureGroup",
                            "failureRate",
                            "stranded",
                            "awaitDeadline",
                            "blobDamaged",
                            "workerLost",
                            "approvalWanted",
                            "gradualWithdrawn",
                            "scheduleMissed",
                        ]
                    ),
                    name="alert_rule_kind_known",
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="RuleChannel",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("channel", models.ForeignKey("alerts.alertchannel", models.PROTECT, related_name="links")),
            ("rule", models.ForeignKey("alerts.alertrule", models.PROTECT, db_index=False, related_name="links")),
        ],
        options={"constraints": [models.UniqueConstraint(fields=("rule", "channel"), name="rule_channel_once")]},
    ),
    migrations.CreateModel(
        name="Alert",
        fields=[
            ("id", models.UUIDField(db_default=RandomUUID(), editable=False, primary_key=True, serialize=False)),
            ("subject", models.CharField(max_length=500)),
            ("title", models.CharField(max_length=500)),
            ("detail", models.CharField(blank=True, max_length=1000)),
            ("path", models.CharField(max_length=500)),
            (
                "state",
                models.CharField(
                    choices=[("FIRING", "Firing"), ("RESOLVED", "Resolved")],
                    db_default="FIRING",
                    default="FIRING",
                    max_length=10,
                ),
            ),
            ("started_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("clear_since", models.DateTimeField(null=True)),
            ("notified_at", models.DateTimeField(null=True)),
            ("silenced_until", models.DateTimeField(null=True)),
            ("silenced_by", models.CharField(db_default="", default="", max_length=200)),
            ("resolved_at", models.DateTimeField(null=True)),
            ("tenant", models.ForeignKey("tenancy.tenant", models.PROTECT, db_index=False, related_name="alerts")),
            ("rule", models.ForeignKey("alerts.alertrule", models.PROTECT, related_name="alerts")),
        ],
        options={
            "ordering": ("-started_at", "-id"),
            "indexes": [
                models.Index(fields=["tenant", "-started_at", "-id"], name="alert_newest"),
                models.Index(fields=["resolved_at"], condition=Q(state="RESOLVED"), name="alert_resolved"),
            ],
            "constraints": [
                models.UniqueConstraint(
                    fields=("rule", "subject"), condition=Q(state="FIRING"), name="alert_one_firing"
                ),
                models.CheckConstraint(
                    condition=Q(resolved_at=None, state="FIRING") | Q(resolved_at__isnull=False, state="RESOLVED"),
                    name="alert_resolved_has_time",
                ),
            ],
        },
    ),
    migrations.CreateModel(
        name="AlertEvent",
        fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            (
                "kind",
                models.CharField(
                    choices=[
                        ("FIRED", "Fired"),
                        ("RESOLVED", "Resolved"),
                        ("SILENCED", "Silenced"),
                        ("UNSILENCED", "Unsilenced"),
                    ],
                    max_length=10,
                ),
            ),
            ("actor", models.CharField(max_length=200)),
            ("data", models.JSONField(default=dict)),
            ("at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("alert", models.ForeignKey("alerts.alert", models.PROTECT, related_name="events")),
        ],
        options={
            "ordering": ("id",),
            "constraints": [
                models.CheckConstraint(
                    condition=Q(kind__in=["FIRED", "RESOLVED", "SILENCED", "UNSILENCED"]), name="alert_event_kind_known"
                )
            ],
        },
    ),
    migrations.CreateModel(
        name="AlertDelivery",
        fields=[
            ("id", models.UUIDField(db_default=RandomUUID(), editable=False, primary_key=True, serialize=False)),
            (
                "kind",
                models.CharField(
                    choices=[("FIRING", "Firing"), ("RESOLVED", "Resolved"), ("TEST", "Test")], max_length=10
                ),
            ),
            (
                "state",
                models.CharField(
                    choices=[("PENDING", "Pending"), ("SENT", "Sent"), ("FAILED", "Failed")],
                    db_default="PENDING",
                    default="PENDING",
                    max_length=10,
                ),
            ),
            ("attempts", models.IntegerField(db_default=0, default=0)),
            ("next_at", models.DateTimeField(db_default=TransactionNow())),
            ("error", models.CharField(db_default="", default="", max_length=300)),
            ("created_at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
            ("finished_at", models.DateTimeField(null=True)),
            ("alert", models.ForeignKey("alerts.alert", models.PROTECT, null=True, related_name="deliveries")),
            (
                "channel",
                models.ForeignKey("alerts.alertchannel", models.PROTECT, db_index=False, related_name="deliveries"),
            ),
            ("tenant", models.ForeignKey("tenancy.tenant", models.PROTECT, db_index=False, related_name="+")),
        ],
        options={
            "ordering": ("-created_at", "-id"),
            "indexes": [
                models.Index(fields=["next_at", "id"], condition=Q(state="PENDING"), name="alert_delivery_due"),
                models.Index(fields=["channel", "-created_at", "-id"], name="alert_delivery_newest"),
                models.Index(fields=["finished_at"], condition=~Q(state="PENDING"), name="alert_delivery_over"),
            ],
            "constraints": [
                models.CheckConstraint(
                    condition=Q(alert=None, kind="TEST") | Q(alert__isnull=False, kind__in=["FIRING", "RESOLVED"]),
                    name="alert_delivery_of_alert",
                ),
                models.CheckConstraint(
                    condition=Q(finished_at=None, state="PENDING")
                    | Q(finished_at__isnull=False, state__in=["SENT", "FAILED"]),
                    name="alert_delivery_over_has_finish",
                ),
            ],
        },
    ),
]


class Migration(migrations.Migration):
    initial = True
    dependencies = [("releases", "0001_tables"), ("tenancy", "0001_tables")]
    operations = [CreateTables(TABLES)]
