"""Charges many items at an HTTP service."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.request import urlopen

from pipelines import ItemFailure, Pipeline, StepContext

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
    kind: Literal["charge"] = "charge"


@dataclass
class Charged:
    count: int
    refused: int
    in_order: bool


@pipeline.step
def list_items(batch: Batch) -> Iterator[Item]:
    for number in range(batch.size):
        yield Item(number, batch.service, "x" * 1_000)


@pipeline.step(parallel=16, retries=2, delay=0.1, on_item_failure="collect")
def charge(item: Item, context: StepContext) -> Charge | ItemFailure:
    with urlopen(f"{item.service}/{item.number}", timeout=10) as response:
        return Charge(item.number, response.read().decode(), item.text)


@pipeline.step
def add_up(charges: list[Charge | ItemFailure]) -> Charged:
    found = [each for each in charges if isinstance(each, Charge)]
    numbers = [each.number for each in found if each.receipt == f"receipt {each.number}"]
    return Charged(len(found), len(charges) - len(found), numbers == sorted({each.number for each in found}))
