"""If a step swallows the failure of a stream, no await, checkpoint or completion is based on partial data."""

import dataclasses
import sys
from textwrap import indent
from typing import Any

from pipelines import Pipeline, StepContext
from pipelines.failures import Failed
from pipelines.worker.runner import RunResult, run
from tests.cases import cases
from tests.unit.pipelines.conftest import Author

FAILURES = {
    "an error": ("raise OSError('the disk is gone')", "OSError"),
    "an exit": ("raise SystemExit", "SystemExit"),
    "the end of a generator": ("raise GeneratorExit", "GeneratorExit"),
    "a wrong item": ("yield 'two'", "INVALID_STEP_OUTPUT"),
    "a cancellation": ("cancelled.append(True)\nyield 2", "pipelines.errors.Cancelled"),
}
SWALLOWING = {
    "except": "try:\n    kept.extend(numbers)\nexcept:\n    pass",
    "finally": "try:\n    kept.extend(numbers)\nfinally:\n    return {kept}",
    "and read again": "for _ in range(9):\n    with suppress(BaseException):\n        kept.append(next(numbers))",
    "and raise another": "try:\n    kept.extend(numbers)\nexcept:\n    raise ValueError('from a broken stream')",
    "and return nonsense": "try:\n    kept.extend(numbers)\nexcept:\n    return ['nonsense']",
}
AWAIT = "pipeline.awaits('Approve', request={}, response=bool, timeout=timedelta(hours=1))\n"
STEP = "@pipeline.step\ndef send(n: int) -> int:\n    done.append(n)\n    return n\n"
FOLLOWING = {
    "the end": "",
    "an await for each item": AWAIT.format("int"),
    "a step": STEP,
    "a step and an await": STEP + AWAIT.format("int"),
}
SOURCE = """
from contextlib import suppress

done, cancelled = [], []

@pipeline.step
def spread(n: int) -> Iterator[int]:
    yield 1
{failure}

"""
RETURNS = """
@pipeline.step
def gather(numbers: Iterator[int]) -> list[int]:
    kept = []
{swallowing}
    return kept
"""
YIELDS = """
def collect(numbers):
    kept = []
{swallowing}
    return kept

@pipeline.step
def gather(numbers: Iterator[int]) -> Iterator[int]:
    kept = collect(numbers)
    yield from kept
"""
GATHERING = {"returns a list": RETURNS, "yields": YIELDS}


def pipeline_of(author: Author, failure: str, gathering: str, swallowing: str, following: str) -> Pipeline:
    body = GATHERING[gathering].format(swallowing=indent(SWALLOWING[swallowing].format(kept="kept"), "    "))
    return author.pipeline(
        SOURCE.format(failure=indent(FAILURES[failure][0], "    ")) + body + "\n" + FOLLOWING[following]
    )


def outcome_of(pipeline: Pipeline, context: StepContext) -> tuple[RunResult, list[Any]]:
    """Return the outcome of a run without checkpoints (lazy streams) and the checkpoints of a run with them."""
    kept: list[Any] = []
    authored = sys.modules["authored"]
    cancellable = dataclasses.replace(context, cancellation=lambda: bool(authored.cancelled))
    lazy = run(pipeline, 1, start=0, stop=-1, context=cancellable)
    authored.cancelled.clear()
    checked = run(pipeline, 1, start=0, stop=-1, context=cancellable, keep=lambda *each: kept.append(each))
    assert isinstance(checked, Failed), checked
    return lazy, kept


@cases(
    ("failure", "gathering", "swallowing", "following"),
    {
        *(
            ("an error", gathering, swallowing, "a step and an await")
            for gathering in GATHERING
            for swallowing in SWALLOWING
        ),
        *(("an error", gathering, "except", following) for gathering in GATHERING for following in FOLLOWING),
        *((failure, gathering, "except", "a step") for failure in FAILURES for gathering in GATHERING),
    },
)
def test_a_failure_that_a_step_swallows_is_the_outcome_whatever_follows(
    author: Author, context: StepContext, failure: str, gathering: str, swallowing: str, following: str
) -> None:
    outcome, kept = outcome_of(pipeline_of(author, failure, gathering, swallowing, following), context)
    assert isinstance(outcome, Failed), outcome
    assert (outcome.failure_class, outcome.step_name) == (FAILURES[failure][1], "Spread")
    assert kept == []
    assert sys.modules["authored"].done == [], "code ran with partial data"


PASS_ON = """
@pipeline.step
def pass_on(numbers: Iterator[int]) -> Iterator[int]:
    try:
        yield from numbers
    except:
        pass
"""


@cases("following", [*FOLLOWING.values()])
def test_a_step_that_passes_the_items_on_cannot_swallow_what_ends_the_stream(
    author: Author, context: StepContext, following: str
) -> None:
    body = SOURCE.format(failure="    raise OSError('the disk is gone')")
    outcome, kept = outcome_of(author.pipeline(body + PASS_ON + following), context)
    assert isinstance(outcome, Failed), outcome
    assert (outcome.failure_class, outcome.step_name, kept) == ("OSError", "Spread", [])
