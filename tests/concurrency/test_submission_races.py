"""Batches race with changes that end their release, and with each other. Each has a separate connection."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from executions.models import Execution
from executions.submission.submission import ExecutionRequest
from foundation.errors import CoordinatorError
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.models import Release
from tests import making
from tests.concurrency.racing import race, results_of
from tests.concurrency.submitting import Verdicts, submitting

pytestmark = pytest.mark.usefixtures("committed")


def orders(*keys: str, pipeline_id: str = making.PIPELINE, value: Any = None) -> list[ExecutionRequest]:
    return [ExecutionRequest(pipeline_id, {"n": 1} if value is None else value, key) for key in keys]


def codes(verdicts: Verdicts) -> list[str]:
    return [each.code if isinstance(each, CoordinatorError) else "ACCEPTED" for each in verdicts]


def revoked(release: Release) -> Callable[[], Any]:
    return partial(revoke, release, actor="user:test", reason="a mistake")


@pytest.mark.parametrize("within", [nullcontext, transaction.atomic])
def test_a_batch_that_races_a_revocation_gets_a_verdict_for_each_item(within: Callable[[], Any]) -> None:
    owner, release = making.ready()
    with submitting(owner, orders("a", "b", "c"), within=within) as batch:
        results_of(race(revoked(release)))
    assert codes(batch.result()) == ["ACTIVE_RELEASE_REVOKED"] * 3
    assert Execution.objects.count() == 0


def test_a_batch_that_races_a_revocation_and_the_next_activation_is_pinned_to_the_next_release() -> None:
    owner, release = making.ready()
    newer = making.registered(owner, "2.0")
    making.worker(newer, "worker-2")

    def replace() -> None:
        activate(newer, actor="user:test")
        revoke(release, actor="user:test", reason="a mistake")

    with submitting(owner, orders("a", "b", "c")) as batch:
        results_of(race(replace))
    assert codes(batch.result()) == ["ACCEPTED"] * 3
    assert set(Execution.objects.values_list("release_version", flat=True)) == {"2.0"}
