"""Items that failed and were collected, and executions that run them again. Others write no row.

The function that removes groups of items with their executions also removes these rows, so that no other trigger of
executions is needed.
"""

import django.contrib.postgres.functions
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import PROTECT, F, Func, Q

VALID = r"""
CREATE FUNCTION failed_items_are_valid(failed int, items jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce(failed >= 1 AND jsonb_typeof(items) = 'array'
        AND jsonb_array_length(items) BETWEEN 0 AND least(failed, 1000)
        AND NOT jsonb_path_exists(items, 'strict $[*] ? (@.type() <> "object")'), false)
$$;
"""
GUARDS = """
CREATE FUNCTION guard_failed_items() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM added a WHERE (
        SELECT e.status = 'RUNNING' FROM executions_execution e WHERE e.id = a.execution_id) IS NOT TRUE)
    THEN
        RAISE EXCEPTION 'failed items are those of an execution that runs'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER failed_items_of_running AFTER INSERT ON executions_faileditems
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard_failed_items();
CREATE TRIGGER failed_items_append_only BEFORE UPDATE ON executions_faileditems
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER failed_items_append_only_removal AFTER DELETE ON executions_faileditems
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION guard_history('failed_items_append_only');
CREATE TRIGGER failed_items_not_truncated BEFORE TRUNCATE ON executions_faileditems
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE OR REPLACE FUNCTION remove_item_groups() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    ids uuid[] := ARRAY(SELECT id FROM removed);
BEGIN
    DELETE FROM executions_itemgroup WHERE execution_id = ANY (ids);
    DELETE FROM executions_faileditems WHERE execution_id = ANY (ids);
    RETURN NULL;
END $$;

-- A linked execution starts with the checkpoint of the old one, or with all items of the old one that failed at a step.
CREATE OR REPLACE FUNCTION guard_start() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_resubmission s JOIN executions_execution o ON o.id = s.execution_id
        WHERE s.new_execution_id = NEW.id AND s.created_at = now() AND s.checkpoint_step = NEW.current_step_index
            AND o.version = s.execution_version AND o.finished_at IS NOT NULL
            AND (o.tenant_id, o.pipeline_id, o.input_digest) = (NEW.tenant_id, NEW.pipeline_id, NEW.input_digest)
            AND CASE WHEN s.items IS NULL
                THEN (o.current_step_index, o.progress, o.progress_shape)
                    = (NEW.current_step_index, NEW.progress, NEW.progress_shape)
                ELSE NEW.progress_shape = 'MULTI' AND jsonb_array_length(NEW.progress) = s.items
                    AND EXISTS (SELECT FROM executions_faileditems f
                        WHERE f.execution_id = o.id AND f.step_index = s.checkpoint_step AND f.failed = s.items
                            AND jsonb_path_query_array(f.items, '$[*].item') = NEW.progress)
                END)
    THEN
        RAISE EXCEPTION 'execution %: it starts with its input, or as its link says with a part of the old one',
            NEW.id USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0030_item_groups"),)
    operations = (
        migrations.RunSQL(VALID),
        migrations.CreateModel(
            "FailedItems",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "execution_id", "step_index", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "execution",
                    models.ForeignKey(
                        "executions.execution",
                        PROTECT,
                        db_constraint=False,
                        db_index=False,
                        related_name="failed_items",
                    ),
                ),
                ("step_index", models.IntegerField()),
                ("failed", models.IntegerField()),
                ("items", models.JSONField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
            ],
            {
                "ordering": ("execution", "step_index"),
                "constraints": [
                    models.CheckConstraint(
                        condition=Func(
                            F("failed"),
                            F("items"),
                            function="failed_items_are_valid",
                            output_field=models.BooleanField(),
                        ),
                        name="failed_items_are_valid",
                    )
                ],
            },
        ),
        migrations.AddField("resubmission", "items", models.IntegerField(null=True)),
        AddConstraintNotValid(
            "resubmission",
            models.CheckConstraint(
                condition=Q(items__isnull=True) | Q(items__gte=1, checkpoint_step__isnull=False),
                name="resubmission_of_items",
            ),
        ),
        migrations.RunSQL(GUARDS),
    )
