"""Alert rules, their channels, the alerts, and their messages."""

import uuid

import django.contrib.postgres.functions
import django.db.models.deletion
from django.db import migrations, models

FORWARD = r"""
-- A new rule or channel starts now. A rule is of a pipeline of its tenant.
CREATE TRIGGER alert_channel_starts AFTER INSERT ON alerts_alertchannel
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.removed_at IS NULL) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER alert_rule_starts AFTER INSERT ON alerts_alertrule
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.removed_at IS NULL) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
ALTER TABLE alerts_alertrule ADD CONSTRAINT alert_rule_thresholds CHECK (jsonb_typeof(thresholds) = 'object');

CREATE FUNCTION guard_new_alert_rule() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.pipeline_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM releases_pipeline p WHERE p.id = NEW.pipeline_id AND p.tenant_id = NEW.tenant_id)
    THEN
        RAISE EXCEPTION 'alert rule: its pipeline is of another tenant'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_rule_own_pipeline';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER alert_rule_new BEFORE INSERT ON alerts_alertrule
    FOR EACH ROW EXECUTE FUNCTION guard_new_alert_rule();

CREATE FUNCTION guard_rule_channel() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM alerts_alertrule r JOIN alerts_alertchannel c ON c.tenant_id = r.tenant_id
        WHERE r.id = NEW.rule_id AND c.id = NEW.channel_id)
    THEN
        RAISE EXCEPTION 'rule channel: the rule and the channel are of different tenants'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'rule_channel_one_tenant';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER rule_channel_new BEFORE INSERT ON alerts_rulechannel
    FOR EACH ROW EXECUTE FUNCTION guard_rule_channel();

CREATE FUNCTION guard_new_alert() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM alerts_alertrule r WHERE r.id = NEW.rule_id AND r.tenant_id = NEW.tenant_id) THEN
        RAISE EXCEPTION 'alert: its rule is of another tenant'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_own_tenant';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER alert_new BEFORE INSERT ON alerts_alert FOR EACH ROW EXECUTE FUNCTION guard_new_alert();

-- A resolved alert never changes. It may be removed a day after its end.
CREATE FUNCTION guard_alert() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.resolved_at < now() - interval '1 day' THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'alert %: it is kept for a day after its end', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_kept';
    END IF;
    IF OLD.state <> 'FIRING' THEN
        RAISE EXCEPTION 'alert %: it is resolved, so it never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_over_is_over';
    END IF;
    NEW.resolved_at := CASE WHEN NEW.state = 'RESOLVED' THEN now() END;
    RETURN NEW;
END $$;
CREATE TRIGGER alert_guard BEFORE UPDATE OR DELETE ON alerts_alert FOR EACH ROW EXECUTE FUNCTION guard_alert();
CREATE TRIGGER alert_not_truncated BEFORE TRUNCATE ON alerts_alert
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Events are removed with their alert only.
CREATE FUNCTION guard_alert_event() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM alerts_alert a WHERE a.id = OLD.alert_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'alert event %: it is append-only', OLD.id
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_event_append_only';
END $$;
CREATE TRIGGER alert_event_guard BEFORE UPDATE OR DELETE ON alerts_alertevent
    FOR EACH ROW EXECUTE FUNCTION guard_alert_event();
CREATE TRIGGER alert_event_not_truncated BEFORE TRUNCATE ON alerts_alertevent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_new_alert_delivery() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM alerts_alertchannel c WHERE c.id = NEW.channel_id AND c.tenant_id = NEW.tenant_id)
        OR (NEW.alert_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM alerts_alert a WHERE a.id = NEW.alert_id AND a.tenant_id = NEW.tenant_id))
    THEN
        RAISE EXCEPTION 'alert delivery: its channel or its alert is of another tenant'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_delivery_own_tenant';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER alert_delivery_new BEFORE INSERT ON alerts_alertdelivery
    FOR EACH ROW EXECUTE FUNCTION guard_new_alert_delivery();

-- A message that was sent or given up never changes. It is removed with its alert, or a day after its end.
CREATE FUNCTION guard_alert_delivery() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.finished_at < now() - interval '1 day'
            OR (OLD.alert_id IS NOT NULL AND NOT EXISTS (SELECT FROM alerts_alert a WHERE a.id = OLD.alert_id))
        THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'alert delivery %: it is kept for a day after its end', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_delivery_kept';
    END IF;
    IF OLD.state <> 'PENDING' THEN
        RAISE EXCEPTION 'alert delivery %: it is over, so it never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'alert_delivery_over_is_over';
    END IF;
    NEW.finished_at := CASE WHEN NEW.state <> 'PENDING' THEN now() END;
    RETURN NEW;
END $$;
CREATE TRIGGER alert_delivery_guard BEFORE UPDATE OR DELETE ON alerts_alertdelivery
    FOR EACH ROW EXECUTE FUNCTION guard_alert_delivery();
CREATE TRIGGER alert_delivery_not_truncated BEFORE TRUNCATE ON alerts_alertdelivery
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
BACKWARD = """
DROP FUNCTION guard_new_alert_rule, guard_rule_channel, guard_new_alert, guard_alert, guard_alert_event,
    guard_new_alert_delivery, guard_alert_delivery CASCADE;
"""


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("executions", "0019_submitted_by_people"),
        ("releases", "0011_verification_progress"),
        ("tenancy", "0009_audit_indexes"),
    ]

    operations = [
        migrations.CreateModel(
            name="Alert",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=django.contrib.postgres.functions.RandomUUID(),
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
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
                (
                    "started_at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
                ("clear_since", models.DateTimeField(null=True)),
                ("notified_at", models.DateTimeField(null=True)),
                ("silenced_until", models.DateTimeField(null=True)),
                ("silenced_by", models.CharField(db_default="", default="", max_length=200)),
                ("resolved_at", models.DateTimeField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="alerts",
                        to="tenancy.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ("-started_at", "-id"),
            },
        ),
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
                (
                    "created_at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
                ("removed_at", models.DateTimeField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="alert_channels",
                        to="tenancy.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ("name", "id"),
            },
        ),
        migrations.CreateModel(
            name="AlertDelivery",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=django.contrib.postgres.functions.RandomUUID(),
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
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
                ("next_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow())),
                ("error", models.CharField(db_default="", default="", max_length=300)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "alert",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deliveries",
                        to="alerts.alert",
                    ),
                ),
                (
                    "channel",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deliveries",
                        to="alerts.alertchannel",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenancy.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ("-created_at", "-id"),
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
                (
                    "at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
                (
                    "alert",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="events", to="alerts.alert"
                    ),
                ),
            ],
            options={
                "ordering": ("id",),
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
                (
                    "created_at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
                ("removed_at", models.DateTimeField(null=True)),
                (
                    "pipeline",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="alert_rules",
                        to="releases.pipeline",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="alert_rules",
                        to="tenancy.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ("name", "id"),
            },
        ),
        migrations.AddField(
            model_name="alert",
            name="rule",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="alerts", to="alerts.alertrule"
            ),
        ),
        migrations.CreateModel(
            name="RuleChannel",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "channel",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="links", to="alerts.alertchannel"
                    ),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="links",
                        to="alerts.alertrule",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="alertrule",
            name="channels",
            field=models.ManyToManyField(related_name="rules", through="alerts.RuleChannel", to="alerts.alertchannel"),
        ),
        migrations.AddConstraint(
            model_name="alertchannel",
            constraint=models.UniqueConstraint(
                condition=models.Q(("removed_at", None)), fields=("tenant", "name"), name="alert_channel_name_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="alertchannel",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("address", ""), ("kind", "slack"), models.Q(("secret", ""), _negated=True)),
                    models.Q(("kind", "webhook"), models.Q(("address", ""), _negated=True)),
                    models.Q(("kind", "email"), ("secret", ""), models.Q(("address", ""), _negated=True)),
                    _connector="OR",
                ),
                name="alert_channel_has_address",
            ),
        ),
        migrations.AddIndex(
            model_name="alertdelivery",
            index=models.Index(
                condition=models.Q(("state", "PENDING")), fields=["next_at", "id"], name="alert_delivery_due"
            ),
        ),
        migrations.AddIndex(
            model_name="alertdelivery",
            index=models.Index(fields=["channel", "-created_at", "-id"], name="alert_delivery_newest"),
        ),
        migrations.AddIndex(
            model_name="alertdelivery",
            index=models.Index(
                condition=models.Q(("state", "PENDING"), _negated=True),
                fields=["finished_at"],
                name="alert_delivery_over",
            ),
        ),
        migrations.AddConstraint(
            model_name="alertdelivery",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("alert", None), ("kind", "TEST")),
                    models.Q(("alert__isnull", False), ("kind__in", ["FIRING", "RESOLVED"])),
                    _connector="OR",
                ),
                name="alert_delivery_of_alert",
            ),
        ),
        migrations.AddConstraint(
            model_name="alertdelivery",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("finished_at", None), ("state", "PENDING")),
                    models.Q(("finished_at__isnull", False), ("state__in", ["SENT", "FAILED"])),
                    _connector="OR",
                ),
                name="alert_delivery_over_has_finish",
            ),
        ),
        migrations.AddConstraint(
            model_name="alertevent",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["FIRED", "RESOLVED", "SILENCED", "UNSILENCED"])),
                name="alert_event_kind_known",
            ),
        ),
        migrations.AddIndex(
            model_name="alert",
            index=models.Index(fields=["tenant", "-started_at", "-id"], name="alert_newest"),
        ),
        migrations.AddIndex(
            model_name="alert",
            index=models.Index(
                condition=models.Q(("state", "RESOLVED")), fields=["resolved_at"], name="alert_resolved"
            ),
        ),
        migrations.AddConstraint(
            model_name="alert",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "FIRING")), fields=("rule", "subject"), name="alert_one_firing"
            ),
        ),
        migrations.AddConstraint(
            model_name="alert",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("resolved_at", None), ("state", "FIRING")),
                    models.Q(("resolved_at__isnull", False), ("state", "RESOLVED")),
                    _connector="OR",
                ),
                name="alert_resolved_has_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="rulechannel",
            constraint=models.UniqueConstraint(fields=("rule", "channel"), name="rule_channel_once"),
        ),
        migrations.AddConstraint(
            model_name="alertrule",
            constraint=models.UniqueConstraint(
                condition=models.Q(("removed_at", None)), fields=("tenant", "name"), name="alert_rule_name_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="alertrule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        [
                            "newFailureGroup",
                            "failureRate",
                            "stranded",
                            "awaitDeadline",
                            "blobDamaged",
                            "workerLost",
                            "approvalWanted",
                            "gradualWithdrawn",
                            "scheduleMissed",
                        ],
                    )
                ),
                name="alert_rule_kind_known",
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
