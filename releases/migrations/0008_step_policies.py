"""The policy of a pipeline may change what its steps declare about retries and time."""

from django.db import migrations, models

CHECK = """
ALTER TABLE releases_pipeline
    ADD CONSTRAINT pipeline_step_policies_object CHECK (jsonb_typeof(step_policies) = 'object');
"""


class Migration(migrations.Migration):
    dependencies = (("releases", "0007_declarations"),)
    operations = (
        migrations.AddField("pipeline", "step_policies", models.JSONField(blank=True, db_default={}, default=dict)),
        migrations.RunSQL(CHECK),
    )
