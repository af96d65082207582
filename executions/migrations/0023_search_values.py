"""Values of the input by which executions can be found. Pipelines that declare none write no row.

The values are written with their execution, never change, and are removed with it. The removal of executions deletes
them as it deletes events: in one statement for all of them, without a foreign key, which each removal would read.
"""

from django.db import migrations, models
from django.db.models import PROTECT, Q

KINDS = ("text", "number", "time")
GUARDS = """
CREATE FUNCTION guard_search_values() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT execution_id, pipeline_id FROM added) a
        WHERE (SELECT r.pipeline_id FROM executions_execution e JOIN releases_release r ON r.id = e.release_id
            WHERE e.id = a.execution_id AND e.created_at = now()) IS DISTINCT FROM a.pipeline_id)
    THEN
        RAISE EXCEPTION 'values to search are written in the transaction that accepts their execution, of its pipeline'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER search_value_with_submission AFTER INSERT ON executions_searchvalue
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard_search_values();
CREATE TRIGGER search_value_append_only BEFORE UPDATE ON executions_searchvalue
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER search_value_append_only_removal AFTER DELETE ON executions_searchvalue
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION guard_history('search_value_append_only');
CREATE TRIGGER search_value_not_truncated BEFORE TRUNCATE ON executions_searchvalue
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE OR REPLACE FUNCTION guard_removal() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM removed r WHERE (SELECT r.finished_at <= now() - make_interval(days =>
            CASE WHEN r.status IN ('FAILED', 'DLQ') THEN t.failed_retention_days ELSE t.retention_days END)
        FROM tenancy_tenant t WHERE t.id = r.tenant_id) IS NOT TRUE)
    THEN
        RAISE EXCEPTION 'only what has been over for longer than its tenant keeps it is removed'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    DELETE FROM executions_executionevent WHERE execution_id = ANY (ARRAY(SELECT id FROM removed));
    DELETE FROM executions_searchvalue WHERE execution_id = ANY (ARRAY(SELECT id FROM removed));
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0022_notifications"), ("releases", "0005_indexes"))
    operations = (
        migrations.CreateModel(
            "SearchValue",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "execution_id", "name", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "execution",
                    models.ForeignKey(
                        "executions.execution",
                        PROTECT,
                        db_constraint=False,
                        db_index=False,
                        related_name="search_values",
                    ),
                ),
                (
                    "pipeline",
                    models.ForeignKey(
                        "releases.pipeline", PROTECT, db_constraint=False, db_index=False, related_name="+"
                    ),
                ),
                ("name", models.CharField(max_length=50)),
                ("text", models.CharField(db_collation="C", max_length=200, null=True)),
                ("number", models.DecimalField(decimal_places=20, max_digits=60, null=True)),
                ("time", models.DateTimeField(null=True)),
            ],
            {
                "ordering": ("execution", "name"),
                "indexes": [
                    models.Index(
                        condition=Q(**{f"{kind}__isnull": False}),
                        fields=["pipeline", "name", kind, "execution"],
                        name=f"search_value_{kind}",
                    )
                    for kind in KINDS
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(text__isnull=False, number=None, time=None) & ~Q(text="")
                        | Q(text=None, number__isnull=False, time=None)
                        | Q(text=None, number=None, time__isnull=False),
                        name="search_value_is_one",
                    )
                ],
            },
        ),
        migrations.RunSQL(GUARDS),
    )
