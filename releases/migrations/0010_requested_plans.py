"""A request may start a gradual activation. Its approvals are those of the later steps and of the promotion."""

from django.db import migrations, models
from django.db.models import Q

GUARD_REQUEST = """
CREATE OR REPLACE FUNCTION guard_request() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    approvals bigint := (SELECT count(*) FROM releases_vote v
        WHERE v.request_id = OLD.id AND v.round = OLD.round AND v.decision = 'approve');
    refusals bigint := (SELECT count(*) FROM releases_vote v
        WHERE v.request_id = OLD.id AND v.round = OLD.round AND v.decision = 'refuse');
BEGIN
    IF (NEW.id, NEW.pipeline_id, NEW.release_id, NEW.requester_id, NEW.actor, NEW.reason, NEW.operation_key,
            NEW.activate_at, NEW.created_at, NEW.expires_at%(new)s)
        IS DISTINCT FROM (OLD.id, OLD.pipeline_id, OLD.release_id, OLD.requester_id, OLD.actor, OLD.reason,
            OLD.operation_key, OLD.activate_at, OLD.created_at, OLD.expires_at%(old)s)
    THEN
        RAISE EXCEPTION 'request %%: what it asks for never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_immutable';
    END IF;
    IF OLD.status NOT IN ('OPEN', 'APPROVED') THEN
        RAISE EXCEPTION 'request %%: it has ended', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_over_is_over';
    END IF;
    IF (NEW.base_id, NEW.policy, NEW.round, NEW.moved) IS DISTINCT FROM (OLD.base_id, OLD.policy, OLD.round, OLD.moved)
        AND NOT (OLD.status = 'OPEN' AND NEW.status = 'OPEN' AND NEW.round = OLD.round + 1 AND request_fits(NEW))
    THEN
        RAISE EXCEPTION 'request %%: only a new round records another present', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_new_round';
    END IF;
    IF NEW.status_changed_at <> (CASE WHEN NEW.status = OLD.status THEN OLD.status_changed_at ELSE now() END) THEN
        RAISE EXCEPTION 'request %%: its time is that of its last move', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_time';
    END IF;
    IF NEW.status = OLD.status THEN
        RETURN NEW;
    END IF;
    IF (OLD.status || '>' || NEW.status) <> ALL (ARRAY['OPEN>APPROVED', 'OPEN>REFUSED', 'OPEN>WITHDRAWN',
        'OPEN>EXPIRED', 'OPEN>FAILED', 'APPROVED>ACTIVATED', 'APPROVED>WITHDRAWN', 'APPROVED>FAILED'])
    THEN
        RAISE EXCEPTION 'request %%: there is no move from %% to %%', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_legal_move';
    END IF;
    IF (NEW.status = 'APPROVED' AND (refusals > 0 OR approvals < greatest(1, (OLD.policy ->> 'approvals')::int)))
        OR (NEW.status = 'REFUSED' AND refusals = 0)
        OR (NEW.status = 'EXPIRED' AND NEW.expires_at > clock_timestamp())
    THEN
        RAISE EXCEPTION 'request %%: its votes and its time do not make it %%', OLD.id, NEW.status
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_decided_by_votes';
    END IF;
    IF NEW.status = 'ACTIVATED' AND NOT EXISTS (SELECT FROM releases_activation a WHERE a.request_id = OLD.id) THEN
        RAISE EXCEPTION 'request %%: it has no activation', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_has_activation';
    END IF;
    RETURN NEW;
END $$;
"""
FORWARD = """
-- As before, for gradual activations too: the approved start stands for the later steps, and for the promotion as long
-- as the policy requires no more approvals. A withdrawal requires none.
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
            LEFT JOIN releases_activationrequest q ON q.id = a.request_id
            WHERE a.gradual_id = NEW.gradual_id
                AND (NEW.kind = 'gradual' OR (q.policy ->> 'approvals')::int >= policy.approvals)))
    THEN
        RAISE EXCEPTION 'activation %: the policy requires approvals', NEW.sequence
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_approved';
    END IF;
    RETURN NEW;
END $$;
"""
BACKWARD = """

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
            AND q.release_id = NEW.release_id AND request_fits(q)
            AND (q.activate_at IS NULL OR q.activate_at <= clock_timestamp()))
    THEN
        RAISE EXCEPTION 'activation %: it is not what its request has approved', NEW.sequence
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_as_approved';
    END IF;
    IF NEW.request_id IS NULL AND policy.approvals > 0 AND NOT NEW.override
        AND NOT (NEW.kind = 'rollback' AND EXISTS (SELECT FROM releases_activation a
            WHERE a.pipeline_id = NEW.pipeline_id AND a.previous_id = NEW.release_id AND a.release_id <> NEW.release_id
                AND a.activated_at >= now() - make_interval(days => policy.rollback_days)))
    THEN
        RAISE EXCEPTION 'activation %: the policy requires approvals', NEW.sequence
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_approved';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("releases", "0009_smoke_and_skew"),)
    operations = (
        migrations.AddField("activationrequest", "plan", models.JSONField(null=True)),
        migrations.AddConstraint(
            "activationrequest",
            models.CheckConstraint(
                condition=Q(plan__isnull=True) | Q(plan__has_keys=["steps", "groups", "bounds"]),
                name="activation_request_plan_is_complete",
            ),
        ),
        migrations.RunSQL(
            GUARD_REQUEST % {"new": ", NEW.plan", "old": ", OLD.plan"} + FORWARD,
            GUARD_REQUEST % {"new": "", "old": ""} + BACKWARD,
        ),
    )
