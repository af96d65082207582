"""Invitations: roles for the person who reads the mail of an address. See ADR 132."""

import uuid

import django.contrib.postgres.fields
import django.contrib.postgres.functions
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

GUARDS = """
CREATE TRIGGER invitation_starts AFTER INSERT ON tenancy_invitation
    FOR EACH ROW WHEN ((NEW.state = 'OPEN' AND NEW.token_hash = '' AND NEW.mail = 'PENDING' AND NEW.attempts = 0
        AND NEW.error = '' AND NEW.created_at = now() AND NEW.next_at = now() AND NEW.requested_at = now()
        AND NEW.expires_at > now() AND NEW.expires_at <= now() + interval '30 days') IS NOT TRUE)
    EXECUTE FUNCTION refuse_insert();

-- An invitation that is over never changes, and one that has expired is not accepted. Its grant never changes.
CREATE FUNCTION guard_invitation() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.state <> 'OPEN' THEN
        RAISE EXCEPTION 'invitation %: it is over, so it never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'invitation_over_is_over';
    END IF;
    IF (NEW.id, NEW.tenant_id, NEW.email, NEW.roles, NEW.groups, NEW.inviter_id, NEW.invited_by, NEW.created_at)
        IS DISTINCT FROM
        (OLD.id, OLD.tenant_id, OLD.email, OLD.roles, OLD.groups, OLD.inviter_id, OLD.invited_by, OLD.created_at)
    THEN
        RAISE EXCEPTION 'invitation %: what it grants to whom never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'invitation_grant_kept';
    END IF;
    IF NEW.state = 'ACCEPTED' AND OLD.expires_at <= now() THEN
        RAISE EXCEPTION 'invitation %: it has expired', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'invitation_expired';
    END IF;
    IF NEW.expires_at > now() + interval '30 days' THEN
        RAISE EXCEPTION 'invitation %: it lasts at most 30 days', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'invitation_lasts';
    END IF;
    IF NEW.state <> 'OPEN' THEN
        NEW.ended_at := now();
        NEW.token_hash := '';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER invitation_guard BEFORE UPDATE ON tenancy_invitation
    FOR EACH ROW EXECUTE FUNCTION guard_invitation();

CREATE FUNCTION refuse_removal_of_invitation() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'invitations are never removed'
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER invitation_not_deleted BEFORE DELETE ON tenancy_invitation
    FOR EACH ROW EXECUTE FUNCTION refuse_removal_of_invitation();
CREATE TRIGGER invitation_not_truncated BEFORE TRUNCATE ON tenancy_invitation
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal_of_invitation();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("tenancy", "0009_sessions_without_role"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Invitation",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("email", models.CharField(max_length=150)),
                (
                    "roles",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("viewer", "Viewer"),
                                ("auditor", "Auditor"),
                                ("approver", "Approver"),
                                ("operator", "Operator"),
                                ("on-call", "On-call"),
                                ("release-manager", "Release manager"),
                                ("tenant-admin", "Tenant admin"),
                            ],
                            max_length=20,
                        ),
                        size=None,
                    ),
                ),
                (
                    "groups",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100), blank=True, db_default=[], default=list, size=None
                    ),
                ),
                ("invited_by", models.CharField(max_length=200)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
                ("expires_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[("OPEN", "Open"), ("ACCEPTED", "Accepted"), ("WITHDRAWN", "Withdrawn")],
                        db_default="OPEN",
                        default="OPEN",
                        max_length=10,
                    ),
                ),
                ("ended_at", models.DateTimeField(null=True)),
                ("token_hash", models.CharField(db_default="", default="", max_length=64)),
                (
                    "mail",
                    models.CharField(
                        choices=[("PENDING", "Being sent"), ("SENT", "Sent"), ("FAILED", "Not sent")],
                        db_default="PENDING",
                        default="PENDING",
                        max_length=10,
                    ),
                ),
                ("attempts", models.IntegerField(db_default=0, default=0)),
                ("next_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow())),
                ("error", models.CharField(db_default="", default="", max_length=300)),
                ("requested_at", models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow())),
                (
                    "inviter",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenancy.tenant",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("-created_at", "-id"),
                "indexes": [
                    models.Index(
                        condition=models.Q(("token_hash", ""), _negated=True),
                        fields=["token_hash"],
                        name="invitation_token",
                    ),
                    models.Index(
                        condition=models.Q(("mail", "PENDING"), ("state", "OPEN")),
                        fields=["next_at", "id"],
                        name="invitation_due",
                    ),
                    models.Index(fields=["tenant", "-created_at", "-id"], name="invitation_newest"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "OPEN")), fields=("tenant", "email"), name="invitation_open_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("ended_at", None), ("state", "OPEN"), ("user", None)),
                            models.Q(
                                ("ended_at__isnull", False),
                                ("state", "ACCEPTED"),
                                ("token_hash", ""),
                                ("user__isnull", False),
                            ),
                            models.Q(
                                ("ended_at__isnull", False), ("state", "WITHDRAWN"), ("token_hash", ""), ("user", None)
                            ),
                            _connector="OR",
                        ),
                        name="invitation_state",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "roles__contained_by",
                                [
                                    "viewer",
                                    "auditor",
                                    "approver",
                                    "operator",
                                    "on-call",
                                    "release-manager",
                                    "tenant-admin",
                                ],
                            ),
                            ("roles__len__gte", 1),
                        ),
                        name="invitation_roles_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("email__regex", "^[a-z0-9._+-]+@[a-z0-9.-]+$")),
                        name="invitation_email_form",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("token_hash__regex", "^([0-9a-f]{64})?$")), name="invitation_token_form"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("mail__in", ["PENDING", "SENT", "FAILED"])), name="invitation_mail_known"
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS),
    ]
