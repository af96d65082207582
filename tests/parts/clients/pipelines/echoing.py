from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipelines import Pipeline


@dataclass
class Order:
    amount: float
    lines: list[str]
    note: str | None = None


of_object = Pipeline("tests.object")
of_array = Pipeline("tests.array")
of_string = Pipeline("tests.string")


@of_object.step
def echo_order(order: Order) -> Order:
    return order


@of_array.step
def echo_all(texts: Iterable[str]) -> Iterator[str]:
    yield from texts


@of_string.step
def echo_text(text: str) -> str:
    return text
