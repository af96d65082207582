"""Await units carry the trace of the run that suspended."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

FORM = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
# The trigger fires only if a statement sets the column, so that answers do not pay for it.
FORWARD = """
CREATE TRIGGER await_unit_traceparent_immutable BEFORE UPDATE OF traceparent ON executions_awaitunit
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""
BACKWARD = "DROP TRIGGER await_unit_traceparent_immutable ON executions_awaitunit"


class Migration(migrations.Migration):
    dependencies = (("executions", "0020_traceparent"),)
    operations = (
        migrations.AddField("awaitunit", "traceparent", models.CharField(max_length=55, null=True)),
        AddConstraintNotValid(
            "awaitunit",
            models.CheckConstraint(
                condition=models.Q(traceparent__isnull=True) | models.Q(traceparent__regex=FORM),
                name="await_unit_traceparent_form",
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
