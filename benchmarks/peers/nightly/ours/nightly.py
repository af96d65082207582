"""Reminds the customers of all unpaid invoices, each night."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from urllib.request import Request, urlopen

from pipelines import ItemFailure, Pipeline, StepContext

pipeline = Pipeline("org.example.nightly", checkpoint=True)


@dataclass
class Reminded:
    letters: int
    failed: list[ItemFailure]


@pipeline.step
def unpaid(day: date) -> Iterator[str]:
    with urlopen(f"{os.environ['LEDGER_URL']}/unpaid?day={day}") as response:
        yield from json.load(response)


@pipeline.step(parallel=16, retries=5, delay=1, max_delay=60, timeout=30, on_item_failure="collect")
def remind(invoice: str, context: StepContext) -> str | ItemFailure:
    headers = {"Idempotency-Key": context.idempotency_key}
    with urlopen(Request(f"{os.environ['LEDGER_URL']}/remind/{invoice}", method="POST", headers=headers)) as response:
        return response.read().decode()


@pipeline.step
def report(letters: list[str | ItemFailure]) -> Reminded:
    failed = [letter for letter in letters if isinstance(letter, ItemFailure)]
    return Reminded(len(letters) - len(failed), failed)
