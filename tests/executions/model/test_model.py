"""Compares executions with a model: rows and history match it after any sequence of operations.

The model is plain Python, written from the diagram of states and not from the product. A state machine applies the
operations of workers, sweeps, operators and attackers to both, and compares them after each step.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from releases.activation.activation import activate
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.executions.model.clock import Clock
from tests.executions.model.machine import World
from tests.executions.model.model import RETRIES, TAKEOVERS
from tests.executions.model.people import People
from tests.executions.model.workers import Workers
from tests.repetition import THOROUGH

STEPS = [{**making.STEP, "index": index, "authoredName": f"Step {index}"} for index in range(3)]


@pytest.mark.timeout(600)  # Hypothesis shrinks a failing run before it reports it
@pytest.mark.django_db
def test_executions_match_the_model_after_any_sequence_of_operations(settings: Any) -> None:
    settings.RETRY_LIMIT, settings.TAKEOVER_LIMIT = RETRIES, TAKEOVERS
    owner = making.tenant()
    releases = [release_of(owner, version) for version in ("1.0", "2.0")]
    activate(releases[0], actor="user:test")
    stranger, _ = making.ready()

    class Here(People, Workers, Clock):
        world = World(owner, releases, stranger)

    run_state_machine_as_test(Here, settings=RUNS)


RUNS = settings(
    max_examples=35 if THOROUGH else 8,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def release_of(owner: Tenant, version: str) -> Release:
    """Make a release whose worker supports checkpoints after each step."""
    contract = making.contract(steps=STEPS)
    data = making.archive(contract, code=version)
    document = making.descriptor(contract, data, version)
    document["artifacts"][0]["capabilities"] = ["checkpoint-each-step"]
    release = making.verified(making.upload(owner, document, data).release)
    making.worker(release, f"worker-{version}", capacity=100, alive_until=None)
    return release
