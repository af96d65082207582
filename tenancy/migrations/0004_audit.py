import django.db.models.deletion
from django.db import migrations, models

# Each entry gets the next number of its chain, the database's time, and a hash that covers the previous one. The head is
# locked until the transaction ends, so the numbers have no gap. The function runs with the owner's rights, because the
# application may not write heads.
FORWARD = """
CREATE FUNCTION append_audit_entry() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO public.tenancy_audithead AS head (tenant_id, sequence, hash) VALUES (NEW.tenant_id, 1, '')
        ON CONFLICT (tenant_id) DO UPDATE SET sequence = head.sequence + 1
        RETURNING head.sequence, head.hash INTO NEW.sequence, NEW.previous_hash;
    NEW.at := clock_timestamp();
    NEW.hash := encode(sha256(convert_to(array_to_json(ARRAY[
        coalesce((SELECT slug FROM public.tenancy_tenant WHERE id = NEW.tenant_id), ''),
        NEW.sequence::text,
        to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        NEW.actor, NEW.act, NEW.object_type, NEW.object, NEW.outcome, NEW.reason, NEW.request_id, NEW.address,
        NEW.details, NEW.previous_hash]::text[])::text, 'UTF8')), 'hex');
    UPDATE public.tenancy_audithead SET hash = NEW.hash WHERE tenant_id IS NOT DISTINCT FROM NEW.tenant_id;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_entry_appended BEFORE INSERT ON tenancy_auditentry
    FOR EACH ROW EXECUTE FUNCTION append_audit_entry();

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'entries of % are never changed or removed', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON tenancy_auditentry
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_not_truncated BEFORE TRUNCATE ON tenancy_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_head_not_deleted BEFORE DELETE ON tenancy_audithead
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_head_not_truncated BEFORE TRUNCATE ON tenancy_audithead
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
-- Only the trigger that appends an entry moves its head.
CREATE TRIGGER audit_head_follows BEFORE UPDATE ON tenancy_audithead
    FOR EACH ROW WHEN (pg_trigger_depth() < 1) EXECUTE FUNCTION refuse_audit_change();
"""
BACKWARD = "DROP FUNCTION append_audit_entry, refuse_audit_change CASCADE;"


class Migration(migrations.Migration):
    dependencies = [
        ("tenancy", "0003_login_counters"),
    ]

    operations = [
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
                (
                    "tenant",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenancy.tenant"
                    ),
                ),
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit log",
                "ordering": ("-sequence",),
                "indexes": [models.Index(fields=["tenant", "act", "-sequence"], name="audit_act")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "sequence"), name="audit_sequence_once", nulls_distinct=False
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("outcome__in", ["granted", "denied", "failed"])), name="audit_outcome_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("act__regex", "^[a-z_]+(\\.[a-z_]+)*$")), name="audit_act_form"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("details__endswith", "}"), ("details__startswith", "{")),
                        name="audit_details_form",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="AuditHead",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sequence", models.BigIntegerField()),
                ("hash", models.CharField(max_length=64)),
                (
                    "tenant",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenancy.tenant"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant",), name="audit_head_once", nulls_distinct=False),
                    models.CheckConstraint(condition=models.Q(("sequence__gte", 1)), name="audit_head_from_one"),
                ],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
