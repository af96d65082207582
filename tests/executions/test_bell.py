"""The bell: rung after the commit and never before it, and no burden to the caller where the broker is down."""

import logging
import time
from datetime import timedelta

import pytest
from django.db import transaction
from pytest_django import DjangoCaptureOnCommitCallbacks

from coordinator import bell
from tests import making

pytestmark = pytest.mark.django_db


@pytest.fixture
def task(name: str) -> str:
    """A task that no worker has."""
    return f"tests.{name}"


def test_what_is_rolled_back_is_not_rung(
    task: str, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True) as rung:
        with transaction.atomic():
            bell.ring(task)
            transaction.set_rollback(True)
        with transaction.atomic():
            bell.ring(task)
    assert len(rung) == 1


@pytest.mark.parametrize(
    ("delay", "rings"), [(None, 1), (timedelta(), 1), (timedelta(seconds=55), 1), (timedelta(seconds=56), 0)]
)
def test_a_long_delay_is_left_to_the_sweep(
    task: str, delay: timedelta | None, rings: int, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks() as rung:
        bell.ring(task, delay=delay)
    assert len(rung) == rings


@pytest.mark.usefixtures("broken_broker")
def test_a_broken_broker_is_logged_and_neither_raised_nor_waited_for(
    task: str, caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    owner, _ = making.ready()
    began = time.monotonic()
    with caplog.at_level(logging.WARNING), django_capture_on_commit_callbacks(execute=True):
        bell.ring(task)
        execution = making.execution(owner)
    assert time.monotonic() - began < 4
    assert "The broker refuses messages" in caplog.text
    assert execution.status == "QUEUED"
