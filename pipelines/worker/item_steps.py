"""Connects the steps with ``parallel`` of one transition to their items: calls, failures, and groups of finished items."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from pipelines.authoring.items import ItemFailure
from pipelines.authoring.plan import PlannedStep
from pipelines.authoring.values import Encoded
from pipelines.failures import Failed, cleaned, message_of
from pipelines.worker.items import Item, Results, Rules, results

ITEMS_IN_A_GROUP: Final = 100
SECONDS_OF_A_GROUP: Final = 2.0
LONGEST_RENDERING: Final = 200
"""How many characters of an item an error shows."""
_LONGEST_REASON: Final = 250
_text: Final = json.JSONEncoder(ensure_ascii=False).encode

Finished = Mapping[int, list[Any]]
"""The results of finished items as JSON documents, by the index of the item."""
KeepItems = Callable[[int, Finished, int | None, int], None]
"""Stores finished items: the index of their step, their results, how many items there are, and how many have failed.

The number of items is None if it is not known. Failures are counted among the items that are given.
"""


class Groups:
    """Passes finished items of one step to ``keep``: ITEMS_IN_A_GROUP at a time, or those of SECONDS_OF_A_GROUP."""

    def __init__(self, keep: KeepItems, step_index: int, total: int | None) -> None:
        self._keep = keep
        self._step_index = step_index
        self._total = total
        self._finished: dict[int, list[Any]] = {}
        self._failed = 0
        self._since = 0.0

    def add(self, index: int, found: Results, *, failed: bool = False) -> None:
        if not self._finished:
            self._since = time.monotonic()
        self._finished[index] = [encoded.document for encoded in found]
        self._failed += failed
        self.flush_if_due()

    def flush_if_due(self) -> None:
        if len(self._finished) >= ITEMS_IN_A_GROUP or time.monotonic() - self._since >= SECONDS_OF_A_GROUP:
            self.flush()

    def flush(self) -> None:
        if self._finished:
            finished, failed = self._finished, self._failed
            self._finished, self._failed = {}, 0
            self._keep(self._step_index, finished, self._total, failed)


def of_step(
    step: PlannedStep,
    items: Iterator[Encoded],
    call: Callable[[Item], Results | Failed],
    fail: Callable[[Failed], Results],
    check: Callable[[], None],
    *,
    groups: Groups | None = None,
    known: Finished | None = None,
) -> Generator[Encoded]:
    """Yield the results of a step for the items of a stream, in their order.

    ``call`` is that of `items.Rules`. ``fail`` ends the transition with a failure, and ``check`` raises if it no longer
    counts. ``known`` items are not called again. Finished items are added to ``groups``.
    """
    if step.items is None:
        raise TypeError(f"step {step.name} does not run for items")
    collects = step.items.collects

    def give_up(item: Item, failed: Failed) -> Results:
        if not collects or failed.failure_class == "pipelines.errors.Cancelled":
            return fail(_of_item(step, item, failed))
        found = [step.output.encode(_failure(step, item, failed))]
        if groups is not None:
            groups.add(item.index, found, failed=True)
        return found

    def checked() -> None:
        check()
        if groups is not None:
            groups.flush_if_due()

    def finished(item: Item, found: Results) -> None:
        if groups is not None:
            groups.add(item.index, found)

    rules = Rules(step.items.parallel, call, partial(_wait, step), give_up, finished, checked)
    decoded = {index: partial(_decoded, step, documents) for index, documents in (known or {}).items()}
    try:
        yield from results(rules, items, decoded)
    finally:
        if groups is not None:
            groups.flush()


def _wait(step: PlannedStep, item: Item, failed: Failed) -> float | None:
    """Return the seconds before the next try of an item, None if it has none left."""
    return None


def _decoded(step: PlannedStep, documents: Sequence[Any]) -> Results:
    return [Encoded(document, step.output.decode(document)) for document in documents]


def _failure(step: PlannedStep, item: Item, failed: Failed) -> ItemFailure:
    return ItemFailure(
        index=item.index,
        error=failed.failure_class,
        message=_reason(step, failed),
        item=_rendered(item),
        tries=item.tries + 1,
    )


def _of_item(step: PlannedStep, item: Item, failed: Failed) -> Failed:
    """Return the failure of the step, with the index of the item and its JSON. Both are visible as payloads are."""
    tries = f" (tried {item.tries + 1} times)" if item.tries else ""
    text = f"item {item.index}{tries}: {_reason(step, failed)}; the item is {_rendered(item)}"
    return replace(failed, message=message_of(step.name, text))


def _reason(step: PlannedStep, failed: Failed) -> str:
    return cleaned(failed.message.removeprefix(message_of(step.name, "")), _LONGEST_REASON)


def _rendered(item: Item) -> str:
    return cleaned(_text(item.encoded.document), LONGEST_RENDERING)
