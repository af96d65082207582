"""Guards of pipelines and their pointer, of activations, and of requests and plans for them."""

from django.db import migrations

PIPELINES = """
CREATE TRIGGER pipeline_starts AFTER INSERT ON releases_pipeline
    FOR EACH ROW WHEN ((NEW.created_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();

CREATE FUNCTION guard_pipeline() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.id, NEW.tenant_id, NEW.pipeline_id, NEW.created_at)
        IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.pipeline_id, OLD.created_at)
    THEN
        RAISE EXCEPTION 'pipeline %: its tenant, id and time of creation never change', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'pipeline_immutable';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.application NOT IN ('', NEW.application) THEN
        RAISE EXCEPTION 'pipeline %: its application never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'pipeline_application_once';
    END IF;
    IF NEW.activation_id IS DISTINCT FROM (
        SELECT a.id FROM releases_activation a WHERE a.pipeline_id = NEW.id ORDER BY a.sequence DESC LIMIT 1)
    THEN
        RAISE EXCEPTION 'pipeline %: its pointer must name its newest activation', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'pipeline_newest_activation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER pipeline_guard BEFORE INSERT OR UPDATE ON releases_pipeline FOR EACH ROW EXECUTE FUNCTION guard_pipeline();
"""
ACTIVATIONS = """
-- The time under the lock of the pipeline. The start of the transaction, which may have waited for the lock, could be
-- earlier than the time of an activation that precedes this one.
CREATE FUNCTION stamp_activation() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.activated_at := greatest(clock_timestamp(), (
        SELECT a.activated_at FROM releases_activation a
        WHERE a.pipeline_id = NEW.pipeline_id ORDER BY a.sequence DESC LIMIT 1));
    RETURN NEW;
END $$;
CREATE TRIGGER activation_stamped BEFORE INSERT ON releases_activation
    FOR EACH ROW EXECUTE FUNCTION stamp_activation();

CREATE FUNCTION guard_activation() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases_release r WHERE r.id = NEW.release_id
        AND r.pipeline_id = NEW.pipeline_id AND r.status = 'REGISTERED')
    THEN
        RAISE EXCEPTION 'activation of release %: it is not a registered release of the pipeline', NEW.release_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_own_release';
    END IF;
    IF NEW.sequence <> 1 + (SELECT coalesce(max(a.sequence), 0) FROM releases_activation a WHERE a.pipeline_id = NEW.pipeline_id)
        OR NEW.previous_id IS DISTINCT FROM (
            SELECT a.release_id FROM releases_activation a
            WHERE a.pipeline_id = NEW.pipeline_id ORDER BY a.sequence DESC LIMIT 1)
    THEN
        RAISE EXCEPTION 'activation %: it does not follow the newest one', NEW.sequence
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_in_sequence';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER activation_guard BEFORE INSERT ON releases_activation FOR EACH ROW EXECUTE FUNCTION guard_activation();

-- Activations of a gradual activation name its releases. Unknown kinds are left to the CHECK constraint.
CREATE FUNCTION guard_activation_kind() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    changes boolean := NEW.release_id IS DISTINCT FROM NEW.previous_id;
    returns boolean := changes AND EXISTS (
        SELECT FROM releases_activation a WHERE a.pipeline_id = NEW.pipeline_id AND a.release_id = NEW.release_id);
BEGIN
    IF (returns AND NEW.kind = 'activation') OR (NOT returns AND NEW.kind = 'rollback')
        OR (changes AND NEW.kind IN ('gradual', 'withdrawal')) OR (NOT changes AND NEW.kind = 'promotion')
    THEN
        RAISE EXCEPTION 'activation %: it is no %', NEW.sequence, NEW.kind
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_kind_of_history';
    END IF;
    IF NEW.gradual_id IS NOT NULL AND NOT EXISTS (SELECT FROM releases_gradualactivation g
        WHERE g.id = NEW.gradual_id AND g.pipeline_id = NEW.pipeline_id AND g.baseline_id = NEW.previous_id
            AND (NEW.candidate_id IS NULL OR NEW.candidate_id = g.candidate_id)
            AND (NEW.kind <> 'promotion' OR NEW.release_id = g.candidate_id))
    THEN
        RAISE EXCEPTION 'activation %: its gradual activation is of other releases', NEW.sequence
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_of_gradual';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER activation_kind BEFORE INSERT ON releases_activation
    FOR EACH ROW EXECUTE FUNCTION guard_activation_kind();

-- Deferred to the commit: the activation is inserted first, and the pointer moves after it.
CREATE FUNCTION guard_pointer() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases_pipeline p WHERE p.id = NEW.pipeline_id AND p.activation_id = (
        SELECT a.id FROM releases_activation a WHERE a.pipeline_id = p.id ORDER BY a.sequence DESC LIMIT 1))
    THEN
        RAISE EXCEPTION 'activation %: the pointer of its pipeline does not name the newest activation', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER activation_moves_pointer AFTER INSERT ON releases_activation
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard_pointer();
CREATE TRIGGER activation_append_only BEFORE UPDATE OR DELETE ON releases_activation
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER activation_not_truncated BEFORE TRUNCATE ON releases_activation
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Callers that name a release get it until this time: always if it is active or the candidate of a gradual activation,
-- and after it was replaced as long as the policy says. NULL if it was never active. The newest activation that follows a
-- release is the one that replaced it, because it would be active otherwise.
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
DEPLOYMENTS = """
CREATE FUNCTION guard_deployment() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
        WHERE r.id = NEW.release_id AND p.tenant_id = NEW.tenant_id AND p.application = NEW.application
            AND r.descriptor_digest = NEW.descriptor_digest AND r.status IN ('REGISTERED', 'REVOKED', 'RETIRED'))
    THEN
        RAISE EXCEPTION 'deployment of release %: it is not a verified release of the tenant and application', NEW.release_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'deployment_of_verified_release';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER deployment_guard BEFORE INSERT ON releases_deployment FOR EACH ROW EXECUTE FUNCTION guard_deployment();
CREATE TRIGGER deployment_starts AFTER INSERT ON releases_deployment
    FOR EACH ROW WHEN ((NEW.created_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER deployment_append_only BEFORE UPDATE OR DELETE ON releases_deployment
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER deployment_not_truncated BEFORE TRUNCATE ON releases_deployment
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
REQUESTS = """
-- What a new request, or a new round of one, is made on must be the present: the newest activation and the approvals.
CREATE FUNCTION request_fits(request releases_activationrequest) RETURNS boolean LANGUAGE sql STABLE
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM releases_pipeline p WHERE p.id = request.pipeline_id
        AND p.activation_id IS NOT DISTINCT FROM request.base_id
        AND to_jsonb(p.approvals) IS NOT DISTINCT FROM request.policy -> 'approvals')
$$;

CREATE FUNCTION guard_new_request() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases_release r
        WHERE r.id = NEW.release_id AND r.pipeline_id = NEW.pipeline_id AND r.status = 'REGISTERED')
    THEN
        RAISE EXCEPTION 'request for release %: it is not a registered release of the pipeline', NEW.release_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_own_release';
    END IF;
    IF NOT request_fits(NEW) THEN
        RAISE EXCEPTION 'request %: it is not made on the present of its pipeline', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_of_present';
    END IF;
    IF NEW.status <> (CASE WHEN NEW.policy ->> 'approvals' = '0' THEN 'APPROVED' ELSE 'OPEN' END)
        OR NEW.round <> 1 OR NEW.moved <> '[]' OR NEW.created_at <> now() OR NEW.status_changed_at <> now()
    THEN
        RAISE EXCEPTION 'a new row of % has illegal initial values', TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER activation_request_starts AFTER INSERT ON releases_activationrequest
    FOR EACH ROW EXECUTE FUNCTION guard_new_request();

CREATE FUNCTION guard_request() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    approvals bigint := (SELECT count(*) FROM releases_vote v
        WHERE v.request_id = OLD.id AND v.round = OLD.round AND v.decision = 'approve');
    refusals bigint := (SELECT count(*) FROM releases_vote v
        WHERE v.request_id = OLD.id AND v.round = OLD.round AND v.decision = 'refuse');
BEGIN
    IF (NEW.id, NEW.pipeline_id, NEW.release_id, NEW.requester_id, NEW.actor, NEW.reason, NEW.operation_key,
            NEW.activate_at, NEW.created_at, NEW.expires_at, NEW.plan)
        IS DISTINCT FROM (OLD.id, OLD.pipeline_id, OLD.release_id, OLD.requester_id, OLD.actor, OLD.reason,
            OLD.operation_key, OLD.activate_at, OLD.created_at, OLD.expires_at, OLD.plan)
    THEN
        RAISE EXCEPTION 'request %: what it asks for never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_immutable';
    END IF;
    IF OLD.status NOT IN ('OPEN', 'APPROVED') THEN
        RAISE EXCEPTION 'request %: it has ended', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_over_is_over';
    END IF;
    IF (NEW.base_id, NEW.policy, NEW.round, NEW.moved) IS DISTINCT FROM (OLD.base_id, OLD.policy, OLD.round, OLD.moved)
        AND NOT (OLD.status = 'OPEN' AND NEW.status = 'OPEN' AND NEW.round = OLD.round + 1 AND request_fits(NEW))
    THEN
        RAISE EXCEPTION 'request %: only a new round records another present', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_new_round';
    END IF;
    IF NEW.status_changed_at <> (CASE WHEN NEW.status = OLD.status THEN OLD.status_changed_at ELSE now() END) THEN
        RAISE EXCEPTION 'request %: its time is that of its last move', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_time';
    END IF;
    IF NEW.status = OLD.status THEN
        RETURN NEW;
    END IF;
    IF (OLD.status || '>' || NEW.status) <> ALL (ARRAY['OPEN>APPROVED', 'OPEN>REFUSED', 'OPEN>WITHDRAWN',
        'OPEN>EXPIRED', 'OPEN>FAILED', 'APPROVED>ACTIVATED', 'APPROVED>WITHDRAWN', 'APPROVED>FAILED'])
    THEN
        RAISE EXCEPTION 'request %: there is no move from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_legal_move';
    END IF;
    IF (NEW.status = 'APPROVED' AND (refusals > 0 OR approvals < greatest(1, (OLD.policy ->> 'approvals')::int)))
        OR (NEW.status = 'REFUSED' AND refusals = 0)
        OR (NEW.status = 'EXPIRED' AND NEW.expires_at > clock_timestamp())
    THEN
        RAISE EXCEPTION 'request %: its votes and its time do not make it %', OLD.id, NEW.status
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_decided_by_votes';
    END IF;
    IF NEW.status = 'ACTIVATED' AND NOT EXISTS (SELECT FROM releases_activation a WHERE a.request_id = OLD.id) THEN
        RAISE EXCEPTION 'request %: it has no activation', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_request_has_activation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER activation_request_guard BEFORE UPDATE ON releases_activationrequest
    FOR EACH ROW EXECUTE FUNCTION guard_request();
CREATE TRIGGER activation_request_not_deleted BEFORE DELETE ON releases_activationrequest
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER activation_request_not_truncated BEFORE TRUNCATE ON releases_activationrequest
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_vote() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    asked releases_activationrequest;
BEGIN
    SELECT * INTO asked FROM releases_activationrequest q WHERE q.id = NEW.request_id FOR UPDATE;
    IF asked.requester_id = NEW.voter_id THEN
        RAISE EXCEPTION 'request %: a person cannot vote on their own request', NEW.request_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'vote_of_another_person';
    END IF;
    IF (asked.status = 'OPEN' AND asked.round = NEW.round AND asked.expires_at > now() AND NEW.voted_at = now())
        IS NOT TRUE
    THEN
        RAISE EXCEPTION 'request %: round % accepts no votes', NEW.request_id, NEW.round
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'vote_in_open_round';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER vote_guard BEFORE INSERT ON releases_vote FOR EACH ROW EXECUTE FUNCTION guard_vote();
CREATE TRIGGER vote_append_only BEFORE UPDATE OR DELETE ON releases_vote
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER vote_not_truncated BEFORE TRUNCATE ON releases_vote
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- An approved start of a gradual activation stands for its later steps and its promotion as long as the policy requires
-- no more approvals. A withdrawal requires none.
CREATE FUNCTION guard_approvals() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
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
CREATE TRIGGER activation_needs_approvals BEFORE INSERT ON releases_activation
    FOR EACH ROW EXECUTE FUNCTION guard_approvals();

-- Deferred to the commit: the activation is inserted first, and completes its request after it.
CREATE FUNCTION guard_carried_out() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases_activationrequest q WHERE q.id = NEW.request_id AND q.status = 'ACTIVATED') THEN
        RAISE EXCEPTION 'activation %: its request is not ACTIVATED', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER activation_completes_request AFTER INSERT ON releases_activation
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.request_id IS NOT NULL) EXECUTE FUNCTION guard_carried_out();

CREATE FUNCTION guard_no_requests() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM releases_activationrequest q WHERE q.release_id = NEW.id AND q.status IN ('OPEN', 'APPROVED'))
    THEN
        RAISE EXCEPTION 'release %: a request to activate it is not decided', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER release_ends_without_requests AFTER UPDATE OF status ON releases_release
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status IN ('REVOKED', 'RETIRED'))
    EXECUTE FUNCTION guard_no_requests();
"""
GRADUAL_ACTIVATIONS = """
ALTER TABLE releases_gradualactivation ADD CONSTRAINT gradual_activation_has_its_step
    CHECK (jsonb_typeof(steps) = 'array' AND step < jsonb_array_length(steps));

-- A gradual activation is of two registered releases of its pipeline. The baseline is active.
CREATE FUNCTION guard_new_gradual_activation() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases_pipeline p JOIN releases_activation a ON a.id = p.activation_id
            WHERE p.id = NEW.pipeline_id AND a.release_id = NEW.baseline_id)
        OR 2 <> (SELECT count(*) FROM releases_release r WHERE r.id IN (NEW.baseline_id, NEW.candidate_id)
            AND r.pipeline_id = NEW.pipeline_id AND r.status = 'REGISTERED')
    THEN
        RAISE EXCEPTION 'gradual activation: the candidate and the active release must be registered releases of the pipeline'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'gradual_activation_own_releases';
    END IF;
    IF NEW.status <> 'RUNNING' OR NEW.step <> 0 THEN
        RAISE EXCEPTION 'gradual activation: it starts RUNNING, at its first step'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'gradual_activation_starts';
    END IF;
    -- The time under the lock of the pipeline, as that of activations.
    NEW.started_at := clock_timestamp();
    NEW.step_started_at := NEW.started_at;
    RETURN NEW;
END $$;
CREATE TRIGGER gradual_activation_new BEFORE INSERT ON releases_gradualactivation
    FOR EACH ROW EXECUTE FUNCTION guard_new_gradual_activation();

CREATE FUNCTION guard_gradual_activation() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.status <> 'RUNNING' THEN
        RAISE EXCEPTION 'gradual activation %: it has ended, so it never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'gradual_activation_over_is_over';
    END IF;
    IF (NEW.id, NEW.pipeline_id, NEW.baseline_id, NEW.candidate_id, NEW.steps, NEW.groups, NEW.bounds, NEW.actor, NEW.reason, NEW.started_at)
        IS DISTINCT FROM
        (OLD.id, OLD.pipeline_id, OLD.baseline_id, OLD.candidate_id, OLD.steps, OLD.groups, OLD.bounds, OLD.actor, OLD.reason, OLD.started_at)
    THEN
        RAISE EXCEPTION 'gradual activation %: only its step and its end can change', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'gradual_activation_immutable';
    END IF;
    IF NEW.step <> OLD.step AND (NEW.step <> OLD.step + 1 OR NEW.status <> 'RUNNING') THEN
        RAISE EXCEPTION 'gradual activation %: it moves one step at a time', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'gradual_activation_step_by_step';
    END IF;
    NEW.step_started_at := CASE WHEN NEW.step = OLD.step THEN OLD.step_started_at ELSE clock_timestamp() END;
    NEW.ended_at := CASE WHEN NEW.status <> 'RUNNING' THEN clock_timestamp() END;
    RETURN NEW;
END $$;
CREATE TRIGGER gradual_activation_guard BEFORE UPDATE ON releases_gradualactivation
    FOR EACH ROW EXECUTE FUNCTION guard_gradual_activation();
CREATE TRIGGER gradual_activation_not_deleted BEFORE DELETE ON releases_gradualactivation
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER gradual_activation_not_truncated BEFORE TRUNCATE ON releases_gradualactivation
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Deferred to the commit: the newest activation of a pipeline routes executions as its RUNNING gradual activation says,
-- and to no candidate if the pipeline has none.
CREATE FUNCTION guard_routing() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (
        SELECT FROM releases_pipeline p LEFT JOIN releases_activation a ON a.id = p.activation_id
        LEFT JOIN releases_gradualactivation g ON g.pipeline_id = p.id AND g.status = 'RUNNING'
        WHERE p.id = NEW.pipeline_id
            AND (g.id, g.candidate_id, (g.steps -> g.step::int ->> 'share')::numeric)
            IS DISTINCT FROM (CASE WHEN a.kind = 'gradual' THEN a.gradual_id END, a.candidate_id, a.share))
    THEN
        RAISE EXCEPTION 'pipeline %: its newest activation does not route as its gradual activation says', NEW.pipeline_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER activation_routes AFTER INSERT ON releases_activation
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard_routing();
CREATE CONSTRAINT TRIGGER gradual_activation_routes AFTER INSERT OR UPDATE ON releases_gradualactivation
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard_routing();

-- The gradual activation ends in the transaction that revokes one of its releases, before the release is REVOKED.
CREATE FUNCTION guard_gradual_releases() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM releases_gradualactivation g WHERE g.pipeline_id = NEW.pipeline_id AND g.status = 'RUNNING'
        AND NEW.id IN (g.baseline_id, g.candidate_id))
    THEN
        RAISE EXCEPTION 'release %: a gradual activation of it is running', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER release_of_no_gradual AFTER UPDATE OF status ON releases_release
    FOR EACH ROW WHEN (NEW.status IN ('REVOKED', 'RETIRED')) EXECUTE FUNCTION guard_gradual_releases();
"""


class Migration(migrations.Migration):
    dependencies = (("releases", "0002_guards_releases"),)
    operations = (
        migrations.RunSQL(PIPELINES),
        migrations.RunSQL(ACTIVATIONS),
        migrations.RunSQL(DEPLOYMENTS),
        migrations.RunSQL(REQUESTS),
        migrations.RunSQL(GRADUAL_ACTIVATIONS),
    )
