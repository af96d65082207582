"""Guards of requests for activations, of their votes, and of activations that need them."""

from django.db import migrations

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
CREATE TRIGGER vote_append_only BEFORE UPDATE OR DELETE ON releases_vote FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER vote_not_truncated BEFORE TRUNCATE ON releases_vote FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

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


class Migration(migrations.Migration):
    dependencies = (("releases", "0003_guards_activations"),)
    operations = (migrations.RunSQL(REQUESTS),)
