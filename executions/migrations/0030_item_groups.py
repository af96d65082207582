"""Finished items of steps that still run. Executions whose steps have no `parallel` write no row.

Groups are written under the lease of their execution, never change, and are removed with it. The removal of executions
deletes them as it deletes events: in one statement for all of them, without a foreign key.
"""

import django.contrib.postgres.fields
import django.contrib.postgres.functions
from django.db import migrations, models
from django.db.models import PROTECT, F, Func

VALID = r"""
CREATE FUNCTION item_group_is_valid(first_item int, items int[], outputs jsonb, total int, failed int) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce(cardinality(items) BETWEEN 1 AND 1000 AND first_item = items[1] AND first_item >= 0
        AND jsonb_typeof(outputs) = 'array' AND jsonb_array_length(outputs) = cardinality(items)
        AND NOT jsonb_path_exists(outputs, 'strict $[*] ? (@.type() <> "array")')
        AND items[cardinality(items)] < total AND failed BETWEEN 0 AND cardinality(items)
        AND items = ARRAY(SELECT DISTINCT i FROM unnest(items) i ORDER BY i), false)
$$;
"""
GUARDS = """
CREATE FUNCTION guard_item_groups() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT execution_id, step_index, attempt FROM added) a WHERE (
        SELECT e.status = 'RUNNING' AND e.current_step_index = a.step_index AND e.attempt = a.attempt
        FROM executions_execution e WHERE e.id = a.execution_id) IS NOT TRUE)
    THEN
        RAISE EXCEPTION 'finished items are of the step and the attempt at which their execution runs'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER item_group_of_running_step AFTER INSERT ON executions_itemgroup
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard_item_groups();
CREATE TRIGGER item_group_append_only BEFORE UPDATE ON executions_itemgroup
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER item_group_append_only_removal AFTER DELETE ON executions_itemgroup
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION guard_history('item_group_append_only');
CREATE TRIGGER item_group_not_truncated BEFORE TRUNCATE ON executions_itemgroup
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION remove_item_groups() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    DELETE FROM executions_itemgroup WHERE execution_id = ANY (ARRAY(SELECT id FROM removed));
    RETURN NULL;
END $$;
CREATE TRIGGER execution_removes_item_groups AFTER DELETE ON executions_execution
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION remove_item_groups();

CREATE FUNCTION item_groups(of_execution uuid, of_step int) RETURNS SETOF executions_itemgroup
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT * FROM executions_itemgroup g WHERE g.execution_id = of_execution AND g.step_index = of_step
        AND g.attempt >= coalesce((
            SELECT max((v.data ->> 'attempt')::int) FROM executions_executionevent v
            WHERE v.execution_id = of_execution AND v.kind = 'REDRIVEN' AND v.data ? 'answerReplaced'), 0)
    ORDER BY g.attempt, g.first_item
$$;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0029_reassignment_checked"),)
    operations = (
        migrations.RunSQL(VALID),
        migrations.CreateModel(
            "ItemGroup",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "execution_id",
                        "step_index",
                        "attempt",
                        "first_item",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "execution",
                    models.ForeignKey(
                        "executions.execution", PROTECT, db_constraint=False, db_index=False, related_name="item_groups"
                    ),
                ),
                ("step_index", models.IntegerField()),
                ("attempt", models.IntegerField()),
                ("first_item", models.IntegerField()),
                ("items", django.contrib.postgres.fields.ArrayField(models.IntegerField())),
                ("outputs", models.JSONField()),
                ("total", models.IntegerField()),
                ("failed", models.IntegerField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
            ],
            {
                "ordering": ("execution", "step_index", "attempt", "first_item"),
                "constraints": [
                    models.CheckConstraint(
                        condition=Func(
                            *map(F, ("first_item", "items", "outputs", "total", "failed")),
                            function="item_group_is_valid",
                            output_field=models.BooleanField(),
                        ),
                        name="item_group_is_valid",
                    )
                ],
            },
        ),
        migrations.RunSQL(GUARDS),
    )
