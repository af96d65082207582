"""Log lines about the course of executions: one for each step of one, or of a group of one release."""

import logging
from typing import Any

import pytest
from django.test import TestCase

from executions.lifecycle import cancellation, dispatch
from executions.submission.submission import ExecutionRequest, submit_many
from tests import making
from wire.log_lines import LineFormatter

pytestmark = pytest.mark.django_db
PIN = f" pipeline={making.PIPELINE} release=1.0 "


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [each for each in caplog.records if each.name == "executions.life_lines"]
    caplog.clear()
    return [LineFormatter().format(record).partition("executions.life_lines ")[2] for record in records]


def test_the_life_of_an_execution_is_logged_with_its_pin_unless_that_is_switched_off(
    caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    owner, _ = making.ready()
    with caplog.at_level(logging.INFO, "executions.life_lines"), TestCase.captureOnCommitCallbacks(execute=True):
        one = making.execution(owner, "one")
    assert lines(caplog) == [f"Accepted tenant={owner.slug}{PIN}execution={one.pk}"]
    with caplog.at_level(logging.INFO, "executions.life_lines"), TestCase.captureOnCommitCallbacks(execute=True):
        making.execution(owner, "one")
        assert dispatch.dispatch() == 1
        assert lines(caplog) == [f"Claimed tenant={owner.slug}{PIN}execution={one.pk}"]
        one.refresh_from_db()
        cancellation.cancel(owner, one.pk, actor="user:ann", reason="")
    assert lines(caplog) == [f"Cancelled tenant={owner.slug}{PIN}execution={one.pk}"]

    requests = [ExecutionRequest(making.PIPELINE, {"n": 1}, key) for key in ("a", "b")]
    with caplog.at_level(logging.INFO, "executions.life_lines"):
        with TestCase.captureOnCommitCallbacks(execute=True):
            submitted = submit_many(owner, requests, actor="token:test")
        ids = ",".join(str(each.execution.pk) for each in submitted)  # type: ignore[union-attr]
        assert lines(caplog) == [f"Accepted tenant={owner.slug}{PIN}executions={ids}"]
        with TestCase.captureOnCommitCallbacks(execute=True):
            making.record(*map(making.outcome_of, making.claimed(owner)))
            assert lines(caplog) == [], "it may be rolled back"
        [recorded] = lines(caplog)
        assert recorded.startswith(f"Recorded SUCCEEDED tenant={owner.slug}{PIN}executions=")
        assert set(recorded.rpartition("=")[2].split(",")) == {*ids.split(",")}
        settings.LOG_EXECUTIONS = False
        making.execution(owner, "silent")
        making.record(*map(making.outcome_of, making.claimed(owner)))
    assert lines(caplog) == []
