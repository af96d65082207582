import json
from collections.abc import Sequence
from typing import Any

from django.db import connection

from executions.models import Execution, ExecutionEvent
from governance.gradual.changes import start as start
from governance.gradual.operations import gradual_activation
from governance.gradual.plan import Plan, Step
from releases.models import GradualActivation, Release
from tenancy.models import Tenant
from tests import making
from tests.raw_sql import unguarded

ACTOR = "user:test"


def candidate(owner: Tenant, version: str = "2.0", **members: Any) -> Release:
    """Return a registered release that a healthy worker hosts and that is not active."""
    release = making.registered(owner, version, **members)
    making.worker(release, f"worker-{version}")
    return release


def plan(*shares: float, sample: int = 20, minutes: int = 0, **members: Any) -> Plan:
    return Plan(tuple(Step(share, sample, minutes) for share in shares), **members)


def started(owner: Tenant, *shares: float, version: str = "2.0", **members: Any) -> GradualActivation:
    return start(candidate(owner, version), plan(*(shares or (50,)), **members), actor=ACTOR)


def again(gradual: GradualActivation) -> GradualActivation:
    return gradual_activation(gradual.pipeline, gradual.pk)


def ended(
    release: Release,
    *,
    succeeded: Sequence[float] = (),
    failed: int = 0,
    status: str = "FAILED",
    age_seconds: float = 0,
    tags: Sequence[str] | None = None,
) -> list[Execution]:
    """Insert executions of a release that ended: one that `succeeded` for each duration in seconds, and `failed` ones.

    They were created `age_seconds` ago. The owner inserts them, so that no worker has to run them.
    """
    rows = [("SUCCEEDED", seconds) for seconds in succeeded] + [(status, 1.0)] * failed
    with unguarded(Execution), unguarded(ExecutionEvent), connection.cursor() as cursor:
        cursor.execute(
            """
            WITH made AS (
                INSERT INTO executions_execution (id, tenant_id, release_id, pipeline_id, contract_version,
                    release_version, execution_key, input_digest, input, input_shape, result_shape, checkpoints,
                    submitted_by, status, version, event_count, current_step_index, attempt, budget_start, takeovers,
                    next_due_at, tags, held, result, created_at, updated_at, finished_at)
                SELECT gen_random_uuid(), %(tenant)s, %(release)s, %(pipeline)s, %(contract)s, %(version)s,
                    gen_random_uuid(), '', '1', 'UNI', 'SINGLE', false, 'token:test', r ->> 0, 1, 2, 0, 0, 0, 0, now(),
                    %(tags)s, false, CASE WHEN r ->> 0 = 'SUCCEEDED' THEN '[1]'::jsonb END, a.at, a.at,
                    a.at + make_interval(secs => (r ->> 1)::float8)
                FROM jsonb_array_elements(%(rows)s) r,
                    (SELECT clock_timestamp() - make_interval(secs => %(age)s) AS at) a
                RETURNING id, status)
            INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
            SELECT id, n, 'MADE', status, '', '{}', now() FROM made, generate_series(1, 2) n
            RETURNING execution_id
            """,
            {
                "tenant": release.pipeline.tenant_id,
                "release": release.pk,
                "pipeline": release.pipeline.pipeline_id,
                "contract": release.contract_version,
                "version": release.release_version,
                "rows": json.dumps(rows),
                "age": age_seconds,
                "tags": None if tags is None else list(tags),
            },
        )
        ids = {row[0] for row in cursor.fetchall()}
    return list(Execution.objects.filter(pk__in=ids))
