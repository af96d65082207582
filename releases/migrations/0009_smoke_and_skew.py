"""Policies may require a smoke test before an activation, and keep a replaced release open to callers that name it."""

from django.db import migrations, models
from django.db.models import Q

# Callers that name a release get it until this time: always if it is active or the candidate of a gradual activation,
# and after it was replaced as long as the policy says. NULL if it was never active. The newest activation that follows a
# release is the one that replaced it, because it would be active otherwise.
FORWARD = """
CREATE FUNCTION release_open_until(of_release bigint) RETURNS timestamptz
    LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT CASE WHEN r.id IN (active.release_id, active.candidate_id) THEN 'infinity'::timestamptz ELSE (
        SELECT a.activated_at + make_interval(mins => p.skew_grace_minutes) FROM releases_activation a
        WHERE a.previous_id = r.id ORDER BY a.sequence DESC LIMIT 1) END
    FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
    JOIN releases_activation active ON active.id = p.activation_id
    WHERE r.id = of_release
$$;
"""


class Migration(migrations.Migration):
    dependencies = (("releases", "0008_gradual"),)
    operations = (
        migrations.AddField(
            "pipeline",
            "smoke_test_hours",
            models.PositiveIntegerField(
                blank=True,
                help_text="How old the passed smoke test of a release may be when it is activated. Blank: no smoke test.",
                null=True,
            ),
        ),
        migrations.AddField(
            "pipeline",
            "skew_grace_minutes",
            models.PositiveIntegerField(
                default=0, help_text="How long callers that name a release still get it after it was replaced."
            ),
        ),
        migrations.AddConstraint(
            "pipeline",
            models.CheckConstraint(
                condition=Q(smoke_test_hours=None) | Q(smoke_test_hours__range=(1, 8760)),
                name="pipeline_smoke_test_hours",
            ),
        ),
        migrations.AddConstraint(
            "pipeline",
            models.CheckConstraint(
                condition=Q(skew_grace_minutes__range=(0, 43200)), name="pipeline_skew_grace_minutes"
            ),
        ),
        migrations.RunSQL(FORWARD, "DROP FUNCTION release_open_until"),
    )
