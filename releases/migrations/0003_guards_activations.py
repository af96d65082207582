"""Guards of pipelines and their pointer, of activations, deployments and gradual activations."""

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
CREATE TRIGGER activation_stamped BEFORE INSERT ON releases_activation FOR EACH ROW EXECUTE FUNCTION stamp_activation();

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
        migrations.RunSQL(GRADUAL_ACTIVATIONS),
    )
