"""The policy says whether a retirement needs a reason."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("releases", "0004_guards_requests"),)
    operations = (
        migrations.AddField("pipeline", "retirement_reason", models.BooleanField(default=True, db_default=True)),
    )
