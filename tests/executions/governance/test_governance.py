"""Compares the governance of a pipeline with a model: rows and history match it after any sequence of operations.

The model is plain Python, written from the documents and not from the product. A state machine applies the operations
of release managers, approvers, operators and callers to both, and compares them after each step.
"""

from typing import Any

import pytest
from django.contrib.auth.models import User
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from executions.models import Worker
from releases.models import Release
from tenancy.models import Membership
from tenancy.roles import Role
from tests import making
from tests.executions.governance.machine import Machine, World
from tests.executions.governance.model import VERSIONS
from tests.repetition import THOROUGH


@pytest.mark.timeout(600)  # Hypothesis shrinks a failing run before it reports it
@pytest.mark.django_db
def test_governance_matches_the_model_after_any_sequence_of_operations(settings: Any) -> None:
    settings.SUBMISSION_CACHE_SECONDS = 3600
    owner = making.tenant()
    for version in VERSIONS:
        made = making.registered(owner, version)
        making.worker(Release.objects.select_related("pipeline__tenant").get(pk=made.pk), f"worker-{version}")
    Worker.objects.filter(tenant=owner).update(alive_until=None, capacity=100)
    people = {name: User.objects.create_user(name) for name in ("ann", "bob", "cleo")}
    for person in people.values():
        Membership.objects.create(user=person, tenant=owner, role=Role.RELEASE_MANAGER)

    class Here(Machine):
        world = World(owner, people)

    run_state_machine_as_test(Here, settings=RUNS)


RUNS = settings(
    max_examples=20 if THOROUGH else 3,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
