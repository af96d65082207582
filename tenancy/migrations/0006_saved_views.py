"""Saved views: searches of lists under a name."""

import django.contrib.postgres.functions
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

FORWARD = """
CREATE TRIGGER saved_view_starts AFTER INSERT ON tenancy_savedview
    FOR EACH ROW WHEN ((NEW.created_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
"""
BACKWARD = "DROP TRIGGER saved_view_starts ON tenancy_savedview;"


class Migration(migrations.Migration):
    dependencies = (
        ("tenancy", "0005_combined_roles"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    )
    operations = (
        migrations.CreateModel(
            name="SavedView",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("page", models.CharField(choices=[("executions", "Executions")], max_length=20)),
                ("name", models.CharField(max_length=60)),
                ("query", models.CharField(max_length=2000)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenancy.tenant"
                    ),
                ),
            ],
            options={
                "ordering": ("name", "id"),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("tenant__isnull", True)),
                        fields=("owner", "page", "name"),
                        name="saved_view_own_once",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("tenant__isnull", False)),
                        fields=("tenant", "page", "name"),
                        name="saved_view_shared_once",
                    ),
                    models.CheckConstraint(condition=models.Q(("page__in", ["executions"])), name="saved_view_page"),
                    models.CheckConstraint(
                        condition=~models.Q(name="") & ~models.Q(query__startswith="?"),
                        name="saved_view_form",
                    ),
                ],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
