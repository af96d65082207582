"""A pipeline whose input decides what happens to an order. Each release has another VERSION."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pipelines import Pipeline, StepContext

VERSION = "1.0"


@dataclass
class Order:
    number: int
    folder: str
    waits: bool = False
    fail_times: int = 0
    questions: int = 0
    checks_cancellation: bool = False


@dataclass
class Question:
    number: int
    folder: str


@dataclass
class Answer:
    note: str


@dataclass
class Receipt:
    execution_id: str
    notes: list[str]
    made_by: str
    attempt: int


pipeline = Pipeline("tests.orders", checkpoint=True)


def mark(order: Order, step: str) -> None:
    with (Path(order.folder) / step).open("a") as marks:
        marks.write("once\n")


@pipeline.step
def price(order: Order) -> Order:
    mark(order, "price")
    return order


@pipeline.step
def settle(order: Order, context: StepContext) -> Order:
    """The first attempt waits for the file `gate` if the order says so. The first `fail_times` attempts fail."""
    mark(order, "settle")
    while context.attempt == 0 and order.waits and not (Path(order.folder) / "gate").exists():
        if order.checks_cancellation:
            context.raise_if_cancelled()
        time.sleep(0.05)
    if context.attempt < order.fail_times:
        raise RuntimeError(f"attempt {context.attempt} of {VERSION} fails")
    return order


@pipeline.step
def ask(order: Order) -> Iterator[Question]:
    for _ in range(order.questions):
        yield Question(order.number, order.folder)


pipeline.awaits("Approve", request=Question, response=Answer, timeout=timedelta(minutes=5))


@pipeline.step
def conclude(questions: list[Question], answers: list[Answer], context: StepContext) -> Receipt:
    assert len(questions) == len(answers)
    return Receipt(context.execution_id, [answer.note for answer in answers], VERSION, context.attempt)
