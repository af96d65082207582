"""A release records how far its verification is, artifact by artifact."""

from django.db import migrations, models

STARTS = """
DROP TRIGGER release_starts ON releases_release;
CREATE TRIGGER release_starts AFTER INSERT ON releases_release
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.status_changed_at = now() AND NEW.status = 'UPLOADED'
        AND NEW.contract_id IS NULL AND NEW.primary_artifact_id = '' AND NEW.environments = '{}' AND NOT NEW.checkpoints
        %s) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
"""
# Progress claims nothing that counts, so a verification may write it again.
FORWARD = """
CREATE FUNCTION guard_progress() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'release %: its progress is written only during its verification', OLD.id
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER release_progress_of_verification BEFORE UPDATE ON releases_release FOR EACH ROW
    WHEN (NEW.progress IS DISTINCT FROM OLD.progress AND (OLD.status <> 'VERIFYING' OR NEW.status <> 'VERIFYING'))
    EXECUTE FUNCTION guard_progress();
"""


class Migration(migrations.Migration):
    dependencies = (("releases", "0010_requested_plans"),)
    operations = (
        migrations.AddField(
            "release",
            "progress",
            models.JSONField(
                db_default={},
                default=dict,
                help_text="What the verification knows about each artifact so far, by the artifact's position.",
            ),
        ),
        migrations.RunSQL(
            STARTS % "AND NEW.progress = '{}'" + FORWARD, "DROP FUNCTION guard_progress CASCADE;" + STARTS % ""
        ),
    )
