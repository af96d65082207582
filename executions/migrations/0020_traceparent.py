"""Executions carry the trace that they belong to."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

FORM = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
# The trigger fires only if a statement sets the column, so that moves do not pay for it.
FORWARD = """
CREATE TRIGGER execution_traceparent_immutable BEFORE UPDATE OF traceparent ON executions_execution
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""
BACKWARD = "DROP TRIGGER execution_traceparent_immutable ON executions_execution"


class Migration(migrations.Migration):
    dependencies = (("executions", "0019_submitted_by_people"),)
    operations = (
        migrations.AddField("execution", "traceparent", models.CharField(max_length=55, null=True)),
        AddConstraintNotValid(
            "execution",
            models.CheckConstraint(
                condition=models.Q(traceparent__isnull=True) | models.Q(traceparent__regex=FORM),
                name="execution_traceparent_form",
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
