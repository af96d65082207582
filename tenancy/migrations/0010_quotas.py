"""Quotas of tenants, and what web processes may use of them."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

MOST = 2**53 - 1
QUOTAS = {
    "quota_submissions": ("submissions a second", "Further ones get 429 until the next second."),
    "quota_open_executions": ("open executions", "Submissions get 429 while this many have not ended."),
    "quota_payload_bytes": ("bytes of an input", "Larger inputs are refused."),
    "quota_storage_bytes": ("stored bytes", "Uploads beyond this are refused."),
    "quota_uploads": ("uploads an hour", "Further uploads of releases get 429."),
    "quota_workers": ("live workers", "Further workers are not registered. MAX_TENANT_WORKERS applies too."),
}
# Both functions lock the row of the tenant, so grants are made one after another. Each statement of a function sees
# what was committed before it began, so a count that follows the lock misses no execution of a grant that has ended.
FORWARD = """
-- Grants up to p_wished submissions of the current second, and at least p_needed if that many are left. A grant that is
-- larger than needed is at most a quarter of what is left. Returns the grant, and the seconds until the second is over.
CREATE FUNCTION grant_submissions(p_tenant bigint, p_limit bigint, p_needed bigint, p_wished bigint)
RETURNS TABLE (permits bigint, seconds float8)
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    began timestamptz := clock_timestamp();
    a tenancy_allowance;
    v_free bigint;
BEGIN
    INSERT INTO tenancy_allowance (tenant_id, second, granted, settled, counted_at)
        VALUES (p_tenant, 'epoch', 0, 0, 'epoch') ON CONFLICT DO NOTHING;
    SELECT * INTO a FROM tenancy_allowance WHERE tenant_id = p_tenant FOR UPDATE;
    IF a.second < date_trunc('second', clock_timestamp()) THEN
        a.second := date_trunc('second', clock_timestamp());
        a.granted := 0;
    END IF;
    v_free := greatest(p_limit - a.granted, 0);
    permits := least(v_free, greatest(p_needed, least(p_wished, v_free / 4)));
    UPDATE tenancy_allowance SET second = a.second, granted = a.granted + permits WHERE tenant_id = p_tenant;
    seconds := extract(epoch FROM a.second + interval '1 second' - began);
    RETURN NEXT;
END $$;

-- Ends the grants p_ended, of which p_used executions were inserted. Then grants open executions as the other function
-- does. It counts the open executions again if the last count is five seconds old, and earlier if little is left.
CREATE FUNCTION grant_open_executions(
    p_tenant bigint, p_limit bigint, p_needed bigint, p_wished bigint, p_ended uuid[], p_used bigint, p_id uuid)
RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    a tenancy_allowance;
    v_held bigint;
    v_free bigint;
    v_permits bigint;
BEGIN
    INSERT INTO tenancy_allowance (tenant_id, second, granted, settled, counted_at)
        VALUES (p_tenant, 'epoch', 0, 0, 'epoch') ON CONFLICT DO NOTHING;
    SELECT * INTO a FROM tenancy_allowance WHERE tenant_id = p_tenant FOR UPDATE;
    DELETE FROM tenancy_grant WHERE tenant_id = p_tenant AND (id = ANY (p_ended) OR expires_at < clock_timestamp());
    a.settled := a.settled + p_used;
    SELECT coalesce(sum(g.permits), 0) INTO v_held FROM tenancy_grant g WHERE g.tenant_id = p_tenant;
    v_free := p_limit - a.settled - v_held;
    IF p_needed > 0 AND a.counted_at < (clock_timestamp() - CASE WHEN v_free < p_needed THEN interval '0.1 seconds'
            WHEN v_free < p_limit / 2 THEN interval '1 second' ELSE interval '5 seconds' END) THEN
        SELECT count(*) INTO a.settled FROM (
            SELECT FROM releases_pipeline p JOIN releases_release r ON r.pipeline_id = p.id
            JOIN executions_execution e ON e.release_id = r.id
            WHERE p.tenant_id = p_tenant AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED')
            LIMIT p_limit) AS open;
        -- There may be more than the limit. Then a higher limit needs another count.
        a.counted_at := CASE WHEN a.settled < p_limit THEN clock_timestamp() ELSE 'epoch' END;
        v_free := p_limit - a.settled - v_held;
    END IF;
    v_free := greatest(v_free, 0);
    v_permits := least(v_free, greatest(p_needed, least(p_wished, v_free / 4)));
    IF v_permits > 0 THEN
        INSERT INTO tenancy_grant (id, tenant_id, permits, expires_at)
            VALUES (p_id, p_tenant, v_permits, clock_timestamp() + interval '30 seconds');
    END IF;
    UPDATE tenancy_allowance SET settled = a.settled, counted_at = a.counted_at WHERE tenant_id = p_tenant;
    RETURN v_permits;
END $$;
"""
BACKWARD = "DROP FUNCTION grant_submissions, grant_open_executions;"


class Migration(migrations.Migration):
    dependencies = (("tenancy", "0009_audit_indexes"),)
    operations = (
        *(
            migrations.AddField(
                model_name="tenant",
                name=column,
                field=models.BigIntegerField(
                    blank=True,
                    help_text=f"{effect} Empty: no limit.",
                    null=True,
                    validators=[
                        django.core.validators.MinValueValidator(1),
                        django.core.validators.MaxValueValidator(MOST),
                    ],
                    verbose_name=f"most {name}",
                ),
            )
            for column, (name, effect) in QUOTAS.items()
        ),
        *(
            migrations.AddConstraint(
                model_name="tenant",
                constraint=models.CheckConstraint(
                    condition=models.Q((column, None)) | models.Q((f"{column}__range", (1, MOST))),
                    name=f"tenant_{column}",
                ),
            )
            for column in QUOTAS
        ),
        migrations.CreateModel(
            name="Allowance",
            fields=[
                (
                    "tenant",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="tenancy.tenant",
                    ),
                ),
                ("second", models.DateTimeField()),
                ("granted", models.BigIntegerField()),
                ("settled", models.BigIntegerField()),
                ("counted_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("granted__gte", 0), ("settled__gte", 0)), name="allowance_not_negative"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Grant",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenancy.tenant"
                    ),
                ),
                ("permits", models.BigIntegerField()),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("permits__gte", 1)), name="grant_has_permits")
                ],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
