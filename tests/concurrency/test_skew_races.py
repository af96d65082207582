"""Smoke tests, and submissions that name a release, race with each other and with what closes or opens a release.

Each has a separate connection.
"""

from functools import partial
from typing import Any

import pytest

from executions.models import Execution, SmokeTest
from executions.smoke_tests.smoke_tests import start
from executions.submission.submission import ExecutionRequest
from foundation.errors import CoordinatorError
from releases.activation import policy
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.concurrency.racing import race, results_of
from tests.concurrency.submitting import Verdicts, submitting

pytestmark = pytest.mark.usefixtures("committed")
ACTOR = "user:ann"


@pytest.fixture
def owner(committed: None) -> Tenant:
    """A tenant whose release 1.0 is active, with a grace of 10 minutes. 2.0 has a worker."""
    made, first = making.ready()
    making.worker(making.registered(made, "2.0"), "worker-2")
    grace(made, 10)
    assert first.release_version == "1.0"
    return made


def release(owner: Tenant, version: str) -> Release:
    rows = Release.objects.select_related("pipeline__tenant", "pipeline__activation__release")
    return rows.get(pipeline__tenant=owner, release_version=version)


def grace(owner: Tenant, minutes: int) -> None:
    pipeline = Release.objects.filter(pipeline__tenant=owner)[0].pipeline
    policy.change(pipeline, {"skewGraceMinutes": minutes}, actor=ACTOR)


def switch(owner: Tenant, version: str = "2.0") -> None:
    activate(release(owner, version), actor=ACTOR)


def named(version: str, *keys: str) -> list[ExecutionRequest]:
    return [ExecutionRequest(making.PIPELINE, {"n": 1}, key, release_version=version) for key in keys]


def results(verdicts: Verdicts) -> list[str]:
    return [each.code if isinstance(each, CoordinatorError) else each.release_version for each in verdicts]


# --- what happens while the INSERT waits ---


def test_a_switch_leaves_the_named_release_open(owner: Tenant) -> None:
    with submitting(owner, named("1.0", "a", "b")) as future:
        results_of(race(partial(switch, owner)))
    assert results(future.result(30)) == ["1.0", "1.0"]


def test_the_end_of_the_grace_closes_the_named_release(owner: Tenant) -> None:
    switch(owner)
    with submitting(owner, named("1.0", "a", "b")) as future:
        results_of(race(partial(grace, owner, 0)))
    assert results(future.result(30)) == ["RELEASE_NOT_OPEN", "RELEASE_NOT_OPEN"]
    assert Execution.objects.count() == 0


def test_a_revocation_closes_the_named_release(owner: Tenant) -> None:
    switch(owner)
    with submitting(owner, named("1.0", "a", "b")) as future:
        results_of(race(partial(revoke, release(owner, "1.0"), actor=ACTOR, reason="leaked")))
    assert results(future.result(30)) == ["RELEASE_NOT_ADMITTED", "RELEASE_NOT_ADMITTED"]
    assert Execution.objects.count() == 0


# --- everything at once ---


def test_requests_with_one_key_start_one_smoke_test(owner: Tenant) -> None:
    def begin() -> tuple[Any, bool]:
        started = start(release(owner, "2.0"), actor=ACTOR, input={"n": 1}, idempotency_key="k")
        return started.test.execution_id, started.repeated

    found = results_of(race(*[begin] * 6))
    assert sorted(repeated for _, repeated in found) == [False, *[True] * 5]
    assert {made for made, _ in found} == {SmokeTest.objects.get().execution_id}
    assert Execution.objects.get().smoke
