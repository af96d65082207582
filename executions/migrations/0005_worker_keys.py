"""Records which generations of each tenant's worker key are active."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

# Each change of keys locks the tenant's row, so the newest existing change is the preceding one.
FORWARD = """
CREATE FUNCTION guard_worker_key_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    before executions_workerkeychange;
BEGIN
    SELECT * INTO before FROM executions_workerkeychange WHERE tenant_id = NEW.tenant_id ORDER BY number DESC LIMIT 1;
    IF NEW.number <> coalesce(before.number, 0) + 1 OR NEW.newest < coalesce(before.newest, 1)
        OR NEW.oldest < coalesce(before.oldest, 1) THEN
        RAISE EXCEPTION 'worker keys of tenant %: changes have no gaps in numbering, and a revoked key stays revoked',
            NEW.tenant_id USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    NEW.at := now();
    RETURN NEW;
END $$;

CREATE TRIGGER worker_key_change_follows BEFORE INSERT ON executions_workerkeychange
    FOR EACH ROW EXECUTE FUNCTION guard_worker_key_change();
CREATE TRIGGER worker_key_change_append_only BEFORE UPDATE OR DELETE ON executions_workerkeychange
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER worker_key_change_not_truncated BEFORE TRUNCATE ON executions_workerkeychange
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
BACKWARD = """
DROP TRIGGER worker_key_change_follows ON executions_workerkeychange;
DROP TRIGGER worker_key_change_append_only ON executions_workerkeychange;
DROP TRIGGER worker_key_change_not_truncated ON executions_workerkeychange;
DROP FUNCTION guard_worker_key_change;
"""


class Migration(migrations.Migration):
    dependencies = (
        ("executions", "0004_worker_eligibility"),
        ("releases", "0002_invariants"),
        ("tenancy", "0001_initial"),
    )
    operations = (
        migrations.CreateModel(
            name="WorkerKeyChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.PositiveIntegerField()),
                ("newest", models.PositiveIntegerField()),
                ("oldest", models.PositiveIntegerField()),
                ("actor", models.CharField(max_length=200)),
                ("reason", models.CharField(blank=True, max_length=1000)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="worker_key_changes",
                        to="tenancy.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ("tenant", "-number"),
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "number"), name="worker_key_change_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("oldest__gte", 1),
                            ("newest__gte", models.F("oldest")),
                            (
                                "newest__lte",
                                models.expressions.CombinedExpression(models.F("oldest"), "+", models.Value(1)),
                            ),
                        ),
                        name="worker_key_two_active",
                    ),
                ],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
