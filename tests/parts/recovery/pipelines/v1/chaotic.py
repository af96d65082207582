"""The campaign's pipeline: retries, an interaction, a timer, and a checkpoint after each step.

The campaign makes another version of it by changing VERSION. Every run of a step appends a line with the execution,
step, version and attempt.
"""

import time
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from pipelines import NonRetryable, Pipeline, StepContext

VERSION = "v1"


@dataclass
class Order:
    """Fails `early` times before the interaction and `late` times after it. Each step takes `seconds`."""

    number: int
    runs: str
    seconds: float
    early: int
    late: int
    trail: str = ""


@dataclass
class Decision:
    accepted: bool
    order: Order


@dataclass
class Receipt:
    number: int
    trail: str


pipeline = Pipeline("tests.chaotic", checkpoint=True)


def work(order: Order, context: StepContext, step: str, failures: int) -> Order:
    with Path(order.runs).open("a") as runs:
        runs.write(f"{context.execution_id} {step} {VERSION} {context.attempt}\n")
    time.sleep(order.seconds)
    if context.attempt < failures:
        raise RuntimeError(f"attempt {context.attempt} of {step} fails")
    return replace(order, trail=f"{order.trail} {VERSION}.{step}".strip())


if VERSION != "v1":  # one more step, and therefore another contract

    @pipeline.step
    def check(order: Order, context: StepContext) -> Order:
        return work(order, context, "check", 0)


@pipeline.step
def prepare(order: Order, context: StepContext) -> Order:
    return work(order, context, "prepare", order.early)


pipeline.awaits("Approve", request=Order, response=Decision, timeout=timedelta(minutes=30))


@pipeline.step
def settle(decision: Decision, context: StepContext) -> Order:
    order = work(decision.order, context, "settle", decision.order.early + decision.order.late)
    if not decision.accepted:
        raise NonRetryable("rejected")
    return order


pipeline.timer("Cool off", timedelta(seconds=0.3))


@pipeline.step
def file(order: Order, context: StepContext) -> Receipt:
    done = work(order, context, "file", 0)
    return Receipt(done.number, done.trail)
