"""The names that pages have for rows: questions, pauses and failures."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = (("executions", "0017_failures_by_release"),)
    operations = (
        migrations.AlterModelOptions(
            "interaction", {"ordering": ("deadline", "created_at", "id"), "verbose_name": "question"}
        ),
        migrations.AlterModelOptions("hold", {"ordering": ("-started_at", "-id"), "verbose_name": "pause"}),
        migrations.AlterModelOptions(
            "deadletter",
            {"ordering": ("-created_at", "-id"), "verbose_name": "failure", "verbose_name_plural": "all failures"},
        ),
    )
