"""Gradual activations: activations give a candidate a share of the new executions."""

import uuid

import django.contrib.postgres.functions
import django.db.models.deletion
from django.db import migrations, models

FORWARD = r"""
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
ALTER TABLE releases_gradualactivation ADD CONSTRAINT gradual_activation_has_its_step
    CHECK (jsonb_typeof(steps) = 'array' AND step < jsonb_array_length(steps));

-- Activations of a gradual activation name its releases. Unknown kinds are left to the CHECK constraint.
CREATE OR REPLACE FUNCTION guard_activation_kind() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
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
BACKWARD = r"""
DROP FUNCTION guard_gradual_releases, guard_routing, guard_gradual_activation, guard_new_gradual_activation CASCADE;
ALTER TABLE releases_gradualactivation DROP CONSTRAINT gradual_activation_has_its_step;
DROP TRIGGER gradual_activation_not_deleted ON releases_gradualactivation;
DROP TRIGGER gradual_activation_not_truncated ON releases_gradualactivation;
CREATE OR REPLACE FUNCTION guard_activation_kind() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    returns boolean := NEW.release_id IS DISTINCT FROM NEW.previous_id AND EXISTS (
        SELECT FROM releases_activation a WHERE a.pipeline_id = NEW.pipeline_id AND a.release_id = NEW.release_id);
BEGIN
    IF (returns AND NEW.kind = 'activation') OR (NOT returns AND NEW.kind = 'rollback') THEN
        RAISE EXCEPTION 'activation %: it is no %', NEW.sequence, NEW.kind
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_kind_of_history';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("releases", "0007_requests"),)
    operations = (
        migrations.CreateModel(
            name="GradualActivation",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("steps", models.JSONField()),
                ("groups", models.JSONField()),
                ("bounds", models.JSONField()),
                ("step", models.PositiveSmallIntegerField(db_default=0, default=0)),
                (
                    "step_started_at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("RUNNING", "Running"),
                            ("PROMOTED", "Promoted"),
                            ("WITHDRAWN", "Withdrawn"),
                            ("REPLACED", "Replaced"),
                        ],
                        db_default="RUNNING",
                        default="RUNNING",
                        max_length=10,
                    ),
                ),
                (
                    "cause",
                    models.CharField(
                        choices=[
                            ("person", "Person"),
                            ("failures", "Failures"),
                            ("duration", "Duration"),
                            ("revocation", "Revocation"),
                            ("activation", "Activation"),
                        ],
                        max_length=10,
                        null=True,
                    ),
                ),
                ("actor", models.CharField(max_length=200)),
                ("reason", models.CharField(blank=True, max_length=1000)),
                (
                    "started_at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
                ("ended_by", models.CharField(max_length=200, null=True)),
                ("end_reason", models.CharField(max_length=1000, null=True)),
                ("ended_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ("-started_at", "-id"),
            },
        ),
        migrations.RemoveConstraint(
            model_name="activation",
            name="activation_kind_known",
        ),
        migrations.AddField(
            model_name="activation",
            name="candidate",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="releases.release",
            ),
        ),
        migrations.AddField(
            model_name="activation",
            name="share",
            field=models.DecimalField(decimal_places=2, max_digits=5, null=True),
        ),
        migrations.AlterField(
            model_name="activation",
            name="kind",
            field=models.CharField(
                choices=[
                    ("activation", "Activation"),
                    ("rollback", "Rollback"),
                    ("gradual", "Gradual activation"),
                    ("promotion", "Promotion"),
                    ("withdrawal", "Withdrawal"),
                ],
                default="activation",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="gradualactivation",
            name="baseline",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="releases.release"
            ),
        ),
        migrations.AddField(
            model_name="gradualactivation",
            name="candidate",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="releases.release"
            ),
        ),
        migrations.AddField(
            model_name="gradualactivation",
            name="pipeline",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="gradual_activations",
                to="releases.pipeline",
            ),
        ),
        migrations.AddField(
            model_name="activation",
            name="gradual",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="activations",
                to="releases.gradualactivation",
            ),
        ),
        migrations.AddConstraint(
            model_name="activation",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["activation", "rollback", "gradual", "promotion", "withdrawal"])),
                name="activation_kind_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="activation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("candidate__isnull", False),
                        ("gradual__isnull", False),
                        ("kind", "gradual"),
                        ("share__isnull", False),
                        ("share__range", (0, 100)),
                    ),
                    models.Q(
                        ("candidate__isnull", True),
                        ("gradual__isnull", False),
                        ("kind__in", ("promotion", "withdrawal")),
                        ("share__isnull", True),
                    ),
                    models.Q(
                        models.Q(("kind__in", ("gradual", "promotion", "withdrawal")), _negated=True),
                        ("candidate__isnull", True),
                        ("gradual__isnull", True),
                        ("share__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="activation_routes_by_kind",
            ),
        ),
        migrations.AddIndex(
            model_name="gradualactivation",
            index=models.Index(fields=["pipeline", "-started_at", "-id"], name="gradual_activation_newest"),
        ),
        migrations.AddConstraint(
            model_name="gradualactivation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "RUNNING")), fields=("pipeline",), name="gradual_activation_one_running"
            ),
        ),
        migrations.AddConstraint(
            model_name="gradualactivation",
            constraint=models.CheckConstraint(
                condition=models.Q(("baseline", models.F("candidate")), _negated=True),
                name="gradual_activation_of_another_release",
            ),
        ),
        migrations.AddConstraint(
            model_name="gradualactivation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("cause__isnull", True),
                        ("end_reason__isnull", True),
                        ("ended_at__isnull", True),
                        ("ended_by__isnull", True),
                        ("status", "RUNNING"),
                    ),
                    models.Q(
                        models.Q(("status", "RUNNING"), _negated=True),
                        ("cause__isnull", False),
                        ("end_reason__isnull", False),
                        ("ended_at__isnull", False),
                        ("ended_by__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="gradual_activation_end_is_complete",
            ),
        ),
        migrations.AddConstraint(
            model_name="gradualactivation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status", "RUNNING"),
                    models.Q(("cause", "person"), ("status", "PROMOTED")),
                    models.Q(("cause__in", ["person", "failures", "duration", "revocation"]), ("status", "WITHDRAWN")),
                    models.Q(("cause", "activation"), ("status", "REPLACED")),
                    _connector="OR",
                ),
                name="gradual_activation_cause_of_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="gradualactivation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("status", "WITHDRAWN"), _negated=True),
                    models.Q(("end_reason__regex", "^\\s*$"), _negated=True),
                    _connector="OR",
                ),
                name="gradual_activation_withdrawal_says_why",
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
