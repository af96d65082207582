"""The steps of a gradual activation need the approvals that the policy requires, as its promotion does."""

from django.db import migrations

# As in migration 0010, but the approved start stands for the later steps only if the policy requires no more approvals.
FORWARD = """
CREATE OR REPLACE FUNCTION guard_approvals() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    policy releases_pipeline;
BEGIN
    SELECT * INTO policy FROM releases_pipeline p WHERE p.id = NEW.pipeline_id;
    IF NEW.override AND NOT policy.emergency_override THEN
        RAISE EXCEPTION 'activation %: the policy allows no override', NEW.sequence
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_override_allowed';
    END IF;
    IF NEW.request_id IS NOT NULL AND NOT EXISTS (SELECT FROM releases_activationrequest q
        WHERE q.id = NEW.request_id AND q.status = 'APPROVED' AND q.pipeline_id = NEW.pipeline_id
            AND request_fits(q)
            AND CASE WHEN q.plan IS NULL THEN NEW.gradual_id IS NULL AND q.release_id = NEW.release_id
                ELSE NEW.kind = 'gradual' AND EXISTS (SELECT FROM releases_gradualactivation g
                    WHERE g.id = NEW.gradual_id AND g.candidate_id = q.release_id
                        AND q.plan = jsonb_build_object('steps', g.steps, 'groups', g.groups, 'bounds', g.bounds)) END
            AND (q.activate_at IS NULL OR q.activate_at <= clock_timestamp()))
    THEN
        RAISE EXCEPTION 'activation %: it is not what its request has approved', NEW.sequence
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_as_approved';
    END IF;
    IF NEW.request_id IS NULL AND policy.approvals > 0 AND NOT NEW.override
        AND NOT (NEW.kind = 'rollback' AND EXISTS (SELECT FROM releases_activation a
            WHERE a.pipeline_id = NEW.pipeline_id AND a.previous_id = NEW.release_id AND a.release_id <> NEW.release_id
                AND a.activated_at >= now() - make_interval(days => policy.rollback_days)))
        AND NEW.kind <> 'withdrawal'
        AND NOT (NEW.kind IN ('gradual', 'promotion') AND EXISTS (SELECT FROM releases_activation a
            JOIN releases_activationrequest q ON q.id = a.request_id
            WHERE a.gradual_id = NEW.gradual_id AND (q.policy ->> 'approvals')::int >= policy.approvals))
    THEN
        RAISE EXCEPTION 'activation %: the policy requires approvals', NEW.sequence
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_approved';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    # Processes of the earlier version handle the refusal of a step as any other error, so nothing is undone.
    dependencies = (("releases", "0013_unknown_outcomes"),)
    operations = (migrations.RunSQL(FORWARD, migrations.RunSQL.noop),)
