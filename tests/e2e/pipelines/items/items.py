"""Charges many items at an HTTP service."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.request import urlopen

from pipelines import Pipeline, StepContext

pipeline = Pipeline("tests.items", checkpoint=True)


@dataclass
class Batch:
    size: int
    service: str


@dataclass
class Item:
    number: int
    service: str
    text: str


@dataclass
class Charge:
    number: int
    receipt: str
    text: str


@dataclass
class Charged:
    count: int
    in_order: bool


@pipeline.step
def list_items(batch: Batch) -> Iterator[Item]:
    for number in range(batch.size):
        yield Item(number, batch.service, "x" * 1_000)


@pipeline.step(parallel=16, retries=5, delay=0.1)
def charge(item: Item, context: StepContext) -> Charge:
    with urlopen(f"{item.service}/{context.item_index}", timeout=10) as response:
        return Charge(item.number, response.read().decode(), item.text)


@pipeline.step
def add_up(charges: list[Charge]) -> Charged:
    found = [(each.number, each.receipt) for each in charges]
    return Charged(len(found), found == [(number, f"receipt {number}") for number in range(len(found))])
