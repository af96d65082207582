import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.test import TestCase
from prometheus_client import REGISTRY

from executions.lifecycle import dispatch, interventions, sweep
from executions.models import Execution
from executions.submission.submission import ExecutionRequest, submit_many
from releases.models import Pipeline
from tenancy.models import Tenant
from tests import making
from tests.cases import Log
from wire.log_lines import LineFormatter

Count = Callable[..., float]


@pytest.fixture
def owner() -> Tenant:
    """A tenant whose name no other test has."""
    return making.ready()[0]


@pytest.fixture
def count(owner: Tenant, settings: Any) -> Count:
    settings.METRICS_MAX_SERIES = 10**6  # other tests of this process have many tenants

    def value(name: str, **labels: str) -> float:
        names = {"tenant": owner.slug, "pipeline": making.PIPELINE, "release": "1.0", **labels}
        return REGISTRY.get_sample_value(f"coordinator_{name}", names) or 0.0

    return value


def test_an_execution_is_counted_from_its_submission_to_its_end(owner: Tenant, count: Count) -> None:
    for _ in range(2):  # the second call finds the first execution
        making.submitted(owner, "key", actor="user:x")
    assert count("executions_submitted_total") == 1
    [claim] = making.claimed(owner)
    making.record(making.outcome_of(claim, span=(1_000, 3_500)))
    making.record(making.outcome_of(claim))
    assert count("outcomes_recorded_total", outcome="SUCCEEDED") == 1
    assert count("executions_finished_total", outcome="SUCCEEDED") == 1
    assert count("transition_run_seconds_sum") == 2.5
    assert count("outcomes_dropped_total") == 1


def test_retries_and_ends_are_counted(owner: Tenant, count: Count, django_capture_on_commit_callbacks: Any) -> None:
    making.execution(owner)
    making.record(making.failure(making.claimed(owner)[0]))
    assert count("retries_scheduled_total") == 1
    Pipeline.objects.update(retry_limit=0)
    Execution.objects.update(next_due_at=making.LONG_AGO)
    with django_capture_on_commit_callbacks(execute=True):
        making.record(making.failure(making.claimed(owner)[0]))
        assert count("dead_letters_total", reason="retry_exhausted") == 0, "nothing counts before its commit"
    assert count("dead_letters_total", reason="retry_exhausted") == 1
    assert count("executions_finished_total", outcome="DLQ") == 1
    other = making.execution(owner, "other")
    Execution.objects.filter(pk=other.pk).update(next_due_at=making.LONG_AGO)
    assert dispatch.dispatch() == 1
    assert count("transitions_dispatched_total") == count("schedule_to_start_seconds_count") == 1
    assert count("schedule_to_start_seconds_sum") > 86_400
    Execution.objects.filter(pk=other.pk).update(lease_expires_at=making.LONG_AGO)
    assert sweep.expire_leases() == 1
    assert count("leases_lost_total") == 1
    with django_capture_on_commit_callbacks(execute=True):
        interventions.cancel(owner, other.pk, actor="user:x", reason="a mistake")
    assert count("executions_finished_total", outcome="CANCELLED") == 1


PIN = f" pipeline={making.PIPELINE} release=1.0 "


def lines(caplog: Log) -> list[str]:
    records = [record for record in caplog.records if record.name == "executions.life_lines"]
    caplog.clear()
    return [LineFormatter().format(record).partition("executions.life_lines ")[2] for record in records]


def test_the_life_of_an_execution_is_logged_unless_switched_off(caplog: Log, settings: Any) -> None:
    owner, _ = making.ready()
    with caplog.at_level(logging.INFO, "executions.life_lines"):
        with TestCase.captureOnCommitCallbacks(execute=True):
            execution = making.execution(owner, "one")
        assert lines(caplog) == [f"Accepted tenant={owner.slug}{PIN}execution={execution.pk}"]
        with TestCase.captureOnCommitCallbacks(execute=True):
            making.execution(owner, "one")
            assert dispatch.dispatch() == 1
            assert lines(caplog) == [f"Claimed tenant={owner.slug}{PIN}execution={execution.pk}"]
            interventions.cancel(owner, execution.pk, actor="user:ann", reason="")
        assert lines(caplog) == [f"Cancelled tenant={owner.slug}{PIN}execution={execution.pk}"]

    requests = [ExecutionRequest(making.PIPELINE, {"n": 1}, key) for key in ("a", "b")]
    with caplog.at_level(logging.INFO, "executions.life_lines"):
        with TestCase.captureOnCommitCallbacks(execute=True):
            submitted = submit_many(owner, requests, actor="token:test")
        ids = ",".join(str(submission.execution.pk) for submission in submitted)  # type: ignore[union-attr]
        assert lines(caplog) == [f"Accepted tenant={owner.slug}{PIN}executions={ids}"]
        with TestCase.captureOnCommitCallbacks(execute=True):
            making.record(*map(making.outcome_of, making.claimed(owner)))
            assert lines(caplog) == [], "it may be rolled back"
        [recorded] = lines(caplog)
        assert recorded.startswith(f"Recorded SUCCEEDED tenant={owner.slug}{PIN}executions=")
        assert set(recorded.rpartition("=")[2].split(",")) == {*ids.split(",")}
        settings.LOG_EXECUTIONS = False
        with TestCase.captureOnCommitCallbacks(execute=True):
            making.execution(owner, "silent")
            making.record(*map(making.outcome_of, making.claimed(owner)))
    assert lines(caplog) == []
