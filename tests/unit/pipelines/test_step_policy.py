"""What steps declare about retries and time: in the artifact, in the worker and in local runs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from pipelines import StepContext
from pipelines.release.packaging import build
from pipelines.testing import run
from pipelines.worker.runner import run as run_transition
from tests.cases import cases
from tests.unit.pipelines.conftest import Author
from wire.documents.contract import DECLARATIONS_ENTRY
from wire.documents.declarations import flat, read

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
BODY = """
class Busy(Exception): ...
class Shut(Busy): ...

@pipeline.step({options})
def book(error: str) -> str:
    if error:
        exec(error)
    return "booked"
"""


def body(options: str) -> str:
    return BODY.format(options=options)


def test_the_artifact_has_what_steps_declare_and_its_contract_is_that_without(author: Author, tmp_path: Path) -> None:
    without = build(author.pipeline(body("")), tmp_path / "without")
    options = "retries=0, delay=timedelta(seconds=1.5), multiplier=1, max_delay=60, jitter=False, timeout=30"
    declaring = author.pipeline(body(f"{options}, retry_on=(Busy, OSError), give_up_on=Shut"))
    built = build(declaring, tmp_path / "declaring")
    with ZipFile(built.path) as archive:
        declared = read(archive.read(DECLARATIONS_ENTRY))
    waits = {"retries": 0, "delaySeconds": 1.5, "multiplier": 1, "maxDelaySeconds": 60, "jitter": False}
    errors = {"retryOn": ["authored.Busy", "OSError"], "giveUpOn": ["authored.Shut"]}
    assert declared == {"steps": {"Book": {**waits, **errors, "timeoutSeconds": 30}}}
    assert flat(declared)['steps["Book"].retryOn'] == "authored.Busy, OSError"
    assert built.contract == without.contract
    with ZipFile(without.path) as archive:
        assert DECLARATIONS_ENTRY not in archive.namelist()


@cases(
    ("options", "error", "failure_class", "retryable"),
    [
        ("", "raise Busy", "authored.Busy", True),
        ("", "raise Busy from NonRetryable('no')", "pipelines.errors.NonRetryable", False),
        ("retry_on=Busy", "raise Busy", "authored.Busy", True),
        ("retry_on=Busy", "raise Shut", "authored.Shut", True),
        ("retry_on=Busy", "raise ValueError from Shut()", "ValueError", True),
        ("retry_on=Busy", "raise OSError", "OSError", False),
        ("retry_on=Busy", "raise SystemExit", "SystemExit", False),
        ("retry_on=Exception", "raise Busy from NonRetryable('no')", "pipelines.errors.NonRetryable", False),
        ("retry_on=(OSError, Busy), give_up_on=Shut", "raise Shut", "authored.Shut", False),
        ("give_up_on=(Busy,)", "raise OSError from Shut()", "authored.Shut", False),
        ("give_up_on=Busy", "raise OSError", "OSError", True),
    ],
)
def test_classes_of_errors_decide_about_a_retry(
    author: Author, context: StepContext, options: str, error: str, failure_class: str, retryable: bool
) -> None:
    pipeline = author.pipeline(body(options))
    failed: Any = run_transition(pipeline, error, start=0, stop=-1, context=lambda: context)
    assert (failed.failure_class, failed.retryable) == (failure_class, retryable)


FLAKY = """
left = {{"read": 2, "book": 2, "pay": 2}}

def fail(name: str) -> None:
    left[name] -= 1
    if left[name] >= 0:
        raise OSError(name)

@pipeline.step(retries=2, delay=10, multiplier=3)
def read(n: int) -> int:
    fail("read")
    return n

@pipeline.step({options})
def book(n: int) -> int:
    fail("book")
    return n

pipeline.timer("Cool off", timedelta(hours=1))

@pipeline.step(delay=5, max_delay=6, timeout=1)
def pay(n: int) -> int:
    fail("pay")
    return n
"""


@cases(
    ("checkpoint", "options", "retries", "waits", "error"),
    [
        (True, "retries=2, delay=1", 2, [10, 30, 1, 2, 3600, 5, 6], ""),
        (True, "retries=1", 2, [10, 30], "book"),
        (False, "retries=3, delay=1", 2, [10, 30, 4], "book"),
        (False, "retries=4, delay=1", 2, [10, 30, 4, 8, 3600, 5, 6], ""),
        (True, "retries=2", 1, [10, 30, 3600, 5], "pay"),
    ],
)
def test_retries_are_counted_since_the_last_checkpoint_or_await(
    author: Author, checkpoint: bool, options: str, retries: int, waits: list[int], error: str
) -> None:
    pipeline = author.pipeline(FLAKY.format(options=options))
    pipeline.checkpoint = checkpoint
    passed: list[timedelta] = []
    result = run(pipeline, 1, retries=retries, now=NOON, advance=passed.append, raises=False)
    assert [wait.total_seconds() for wait in passed] == waits
    assert result.elapsed == sum(passed, timedelta())
    assert str(result.error or "") == error
