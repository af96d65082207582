"""Compares the governance of a pipeline with a model: rows and history match it after any sequence of operations.

The model is plain Python, written from the documents and not from the product. A state machine applies the operations
of release managers, approvers, operators, callers and strangers to both, and compares them after each step.
"""

from typing import Any

import pytest
from django.contrib.auth.models import User
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from executions.models import Worker
from tenancy.models import Membership, Tenant
from tenancy.roles import Role
from tests import making
from tests.executions.governance.approvals import Approvals
from tests.executions.governance.callers import Callers
from tests.executions.governance.machine import World
from tests.executions.governance.model import VERSIONS
from tests.executions.governance.operators import Operators
from tests.executions.governance.switches import Switches
from tests.executions.submission import continuing


@pytest.mark.timeout(600)  # Hypothesis shrinks a failing run before it reports it
@pytest.mark.django_db
def test_governance_matches_the_model_after_any_sequence_of_operations(settings: Any) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 3600
    owner, stranger = (pipeline_of_four() for _ in range(2))
    people = {name: User.objects.create_user(name) for name in ("ann", "bob", "cleo")}
    for person in people.values():
        Membership.objects.create(user=person, tenant=owner, role=Role.RELEASE_MANAGER)

    class Here(Switches, Approvals, Operators, Callers):
        world = World(owner, stranger, people)

    run_state_machine_as_test(Here, settings=RUNS)


RUNS = settings(
    max_examples=20,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def pipeline_of_four() -> Tenant:
    """Make a tenant with four releases and their workers. The last two have other steps than the first two."""
    owner = making.tenant()
    for version in VERSIONS:
        names = "AB" if version < "3" else "XB"
        steps = [{**making.STEP, "index": index, "authoredName": name} for index, name in enumerate(names)]
        release = continuing.release(owner, version, steps)
        release.pipeline.refresh_from_db()
        rows = Worker.objects.filter(tenant=owner, release_version=version)
        rows.update(alive_until=None, capacity=100)
    return owner
