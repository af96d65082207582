"""A worker reports checkpoints and suspensions of a transition, and omits checkpoints that are too large."""

import secrets
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from pipelines import Pipeline, StepContext
from pipelines.release.descriptor import release
from pipelines.release.packaging import build
from pipelines.worker.host import Host
from pipelines.worker.outbox import Report
from pipelines.worker.outcomes import checkpoint_of, outcome_of
from pipelines.worker.runner import run
from tests.cases import cases
from tests.unit.pipelines.worker.conftest import Hosted
from tests.unit.pipelines.worker.test_host import command
from wire.messages.celery_messages import CommandGroup
from wire.messages.limits import LONGEST_OUTCOME
from wire.messages.sealing import seal

STEPS = """
from pipelines import Pipeline

pipeline = Pipeline("tests.progress")


@pipeline.step
def first(n: int) -> int:
    return n + 1


@pipeline.step
def second(n: int) -> int:
    return n * 10


@pipeline.step
def third(n: int) -> int:
    if n == 130:
        raise RuntimeError("thirteen fails")
    return n
"""


CONTEXT = StepContext(
    tenant_id="acme",
    execution_id="e-1",
    pipeline_id="tests.awaiting",
    contract_version="c",
    release_version="r",
    attempt=0,
    transition_key="e-1:0:0",
)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    module = f"progress_{secrets.token_hex(4)}"
    (tmp_path / f"{module}.py").write_text(STEPS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    build(f"{module}:pipeline", tmp_path / "dist")
    yield Hosted(tmp_path, module, release(tmp_path / "dist", release_version="1.0").path).host()
    sys.modules.pop(module, None)


def reported(host: Host, payload: str, **members: Any) -> list[tuple[str, tuple[int, list[str]] | None]]:
    """Return the outcome ("" without one) and the checkpoint of each report on one command, in order."""
    answers: list[Report] = []
    sent = command(payload=payload, **members)
    host.execute(seal(host.release.identity, CommandGroup(commands=[sent]), Hosted.key), answers.append)
    found: list[tuple[str, tuple[int, list[str]] | None]] = []
    for each in answers:
        outcome = each.outcome.outcome if each.outcome else ""
        progress = (each.checkpoint.next_step_index, each.checkpoint.output_payloads) if each.checkpoint else None
        found.append((outcome, progress))
    return found


def test_checkpoints_are_reported_at_once_and_a_failure_repeats_the_newest(host: Host) -> None:
    """The checkpoint message may be lost or may arrive after the failure message."""
    first, second = (1, ["13"]), (2, ["130"])
    assert reported(host, "12", checkpoints=True) == [("", first), ("", second), ("FAILED", second)]


def test_a_success_repeats_no_checkpoint(host: Host) -> None:
    assert reported(host, "1", checkpoints=True) == [("", (1, ["2"])), ("", (2, ["20"])), ("COMPLETED", None)]


@cases(("payload", "outcome"), [("1", "COMPLETED"), ("12", "FAILED")])
def test_an_execution_without_checkpoints_reports_only_its_outcome(host: Host, payload: str, outcome: str) -> None:
    assert reported(host, payload) == [(outcome, None)]


def test_a_checkpoint_that_is_too_large_is_not_sent() -> None:
    assert checkpoint_of(command(), 1, ["x" * LONGEST_OUTCOME], many=False) is None
    assert checkpoint_of(command(), 1, ["x"], many=False) is not None


def awaiting(request: Any, response: Any) -> Pipeline:
    made = Pipeline("tests.awaiting")
    made.awaits("Ask", request=request, response=response, timeout=timedelta(hours=1))
    return made


@cases(
    ("request_hint", "response_hint", "payload", "shape", "itemized", "gives_many"),
    [
        (int, int, 1, "UNI", False, False),
        (int, list[int], 1, "UNI", False, True),
        (int, int, [1], "MULTI", True, True),
        (int, int, [1, 2], "MULTI", True, True),
        (list[int], int, [1, 2], "MULTI", False, False),
        (list[int], list[int], [1, 2], "MULTI", False, True),
    ],
)
def test_a_suspension_says_whether_the_responses_are_a_stream(
    request_hint: Any,
    response_hint: Any,
    payload: Any,
    shape: Literal["UNI", "MULTI"],
    itemized: bool,
    gives_many: bool,
) -> None:
    ran = run(awaiting(request_hint, response_hint), payload, start=0, stop=-1, context=CONTEXT, shape=shape)
    suspension = outcome_of(command(), ran, steps=1).suspension
    assert suspension is not None
    assert (suspension.itemized, suspension.gives_many) == (itemized, gives_many)
    assert len(suspension.requests) == (len(payload) if itemized else 1)
