"""Records when messages last arrived. Adds the clock by which workers become silent: it stops while none can arrive."""

from django.db import migrations, models

FORWARD = """
CREATE FUNCTION worker_clock() RETURNS timestamptz LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce((SELECT arrived_at FROM executions_messagepath WHERE expected_by < now()), now())
$$;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0002_invariants"),)
    operations = (
        migrations.CreateModel(
            name="MessagePath",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("arrived_at", models.DateTimeField()),
                ("expected_by", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="message_path_once"),
                    models.CheckConstraint(
                        condition=models.Q(("expected_by__gt", models.F("arrived_at"))),
                        name="message_path_expects_more",
                    ),
                ],
            },
        ),
        migrations.RunSQL(FORWARD, "DROP FUNCTION worker_clock"),
    )
