"""Notes the items of a transition that failed and were collected, for its checkpoints and its outcome."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from pipelines.authoring.items import ItemFailure
from pipelines.failures import LONGEST_CLASS, LONGEST_MESSAGE, cleaned, warn
from pipelines.worker.items import Item, Results
from wire.documents.json_reader import LONGEST_OUTCOME
from wire.messages.celery_messages import Checkpoint, Outcome
from wire.messages.step_reports import LONGEST_FAILED_ITEMS, MOST_FAILED_ITEMS, FailedItem, FailedItems

_text = json.JSONEncoder(ensure_ascii=False).encode
_Report = TypeVar("_Report", Outcome, Checkpoint)


class Failing(NamedTuple):
    """An item of a step that failed and was collected."""

    step_index: int
    item: Item
    failure: ItemFailure


def failure_in(results: Results) -> ItemFailure | None:
    """Return the failure among the results of an item. The step's code may also return one itself."""
    return next((result.value for result in results if isinstance(result.value, ItemFailure)), None)


def with_failed_items(report: _Report, noted: Sequence[Failing]) -> _Report:
    """Return an outcome or a checkpoint with the items that failed, as far as it still fits into a message."""
    for longest in (LONGEST_FAILED_ITEMS, 0):
        full = report.model_copy(update={"failed_items": _reported(noted, longest)})
        if len(full.model_dump_json(by_alias=True)) <= LONGEST_OUTCOME:
            return full
    warn("The failed items of execution %s are too many to be listed", report.execution_id)
    return report


def _reported(noted: Sequence[Failing], longest: int) -> list[FailedItems]:
    """Return the report of failed items, with the JSON of as many as have `longest` characters together."""
    by_step: dict[int, list[Failing]] = {}
    for note in noted:
        by_step.setdefault(note.step_index, []).append(note)
    failures = []
    for step_index, failing in sorted(by_step.items()):
        failing.sort(key=lambda note: note.item.index)
        items = []
        for note in failing[:MOST_FAILED_ITEMS]:
            text = _text(note.item.encoded.document)
            fits = len(text) <= longest
            longest -= len(text) if fits else 0
            items.append(_item(note, text if fits else ""))
        failures.append(FailedItems(step_index=step_index, failed=len(failing), items=items))
    return failures


def _item(failing: Failing, text: str) -> FailedItem:
    failure = failing.failure
    return FailedItem(
        index=failing.item.index,
        error=cleaned(failure.error, LONGEST_CLASS),
        message=cleaned(failure.message, LONGEST_MESSAGE),
        tries=min(max(failure.tries, 0), 2**31 - 1),
        item=text,
    )
