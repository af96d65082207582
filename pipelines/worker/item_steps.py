"""Runs steps with ``parallel``: the retries and the failures of their items, and the groups of finished items."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipelines.authoring.items import ItemFailure
from pipelines.authoring.planned_step import PlannedStep
from pipelines.authoring.values import Encoded
from pipelines.errors import EventLoopBlocked
from pipelines.failures import CODES, Failed, cleaned, message_of
from pipelines.worker.failed_items import Failing, failure_in
from pipelines.worker.items import BranchCall, Item, ItemLimits, Results, Rules, results
from wire.documents.json_reader import LONGEST_OUTCOME
from wire.messages.task_messages import groups
from wire.retry import LONGEST_RETRY_DELAY, RetryPolicy

if TYPE_CHECKING:
    from pipelines.worker.supervision import Watch

LONGEST_ITEM: Final = LONGEST_OUTCOME // 8
"""How many characters the results of an item may have to be stored alone."""
LONGEST_RENDERING: Final = 200
"""How many characters of an item an error shows."""
_LONGEST_REASON: Final = 250
_NO_RETRIES: Final = RetryPolicy(0, delay=timedelta(seconds=1), multiplier=2, cap=LONGEST_RETRY_DELAY, jitter=0.5)
"""What a step declares nothing else about its items."""
_text: Final = json.JSONEncoder(ensure_ascii=False).encode

Finished = Mapping[int, list[Any]]
"""The results of finished items as JSON documents, by the index of the item."""


class FinishedItems(NamedTuple):
    """Items of one step that are finished: their results as the JSON texts of lists, by their indexes.

    ``total`` is the number of all items, ``failed`` that of those among them that failed and were collected.
    """

    step_index: int
    texts: dict[int, str]
    total: int
    failed: int

    def documents(self) -> Finished:
        return {index: json.loads(text) for index, text in self.texts.items()}


ItemDelay = Callable[[float], float]
"""Returns the seconds to wait before another try of an item, for those that its step declares."""
KeepItems = Callable[[FinishedItems], None]
"""Stores finished items."""


class Groups:
    """Passes finished items of one step to ``keep``, in groups as `ItemLimits` says.

    The first one is not passed before ``group_seconds``, because a coordinator accepts it after the checkpoint before
    the step.
    """

    def __init__(self, keep: KeepItems, step_index: int, total: int, limits: ItemLimits) -> None:
        self._keep = keep
        self._step_index = step_index
        self._total = total
        self._limits = limits
        self._texts: dict[int, str] = {}
        self._length = 0
        self._failed: set[int] = set()
        self._due_at = self._first_at = time.monotonic() + limits.group_seconds

    def add(self, index: int, item_results: Results, *, failed: bool = False) -> None:
        text = _text([encoded.document for encoded in item_results])
        if len(text) > LONGEST_ITEM:
            return  # it runs again after a retry
        self._texts[index] = text
        self._length += len(text)
        if failed:
            self._failed.add(index)
        self.flush_if_due()

    def flush_if_due(self) -> None:
        now = time.monotonic()
        is_full = len(self._texts) >= self._limits.group_items or self._length >= self._limits.group_characters
        if now >= self._due_at or (is_full and now >= self._first_at):
            self.flush()

    def flush(self) -> None:
        """Pass all items, in groups of at most ``group_items``."""
        self._due_at = time.monotonic() + self._limits.group_seconds
        finished, failed = sorted(self._texts.items()), self._failed
        self._texts, self._length, self._failed = {}, 0, set()
        for part in groups(finished, [len(text) for _, text in finished], most=self._limits.group_items):
            texts = dict(part)
            self._keep(FinishedItems(self._step_index, texts, self._total, len(failed & texts.keys())))


def of_step(
    step: PlannedStep,
    items: Iterator[Encoded],
    call: Callable[[Item, Callable[[], bool]], Results | Failed],
    fail: Callable[[Failed], Results],
    check: Callable[[], None],
    delay: ItemDelay,
    *,
    ahead: int,
    stored: Groups | None = None,
    known: Finished | None = None,
    watch: Watch | None = None,
    failing: list[Failing] | None = None,
) -> Generator[Encoded]:
    """Yield the results of a step for the items of a stream, in their order.

    ``call`` is that of `items.Rules`. ``fail`` ends the transition with a failure, and ``check`` raises if it no longer
    counts. ``known`` items are not called again. Finished items are added to ``stored``. ``ahead`` is that of
    `ItemLimits`. ``watch`` is that of the transition; None if it has no time limit. ``failing`` gets the items that are
    collected.
    """
    if step.items is None:
        raise TypeError(f"step {step.name} does not run for items")
    collects = step.items.collects

    def give_up(item: Item, failed: Failed) -> Results:
        if failed.failure_class == CODES[EventLoopBlocked]:
            return fail(failed)  # no fault of the item
        if not collects or failed.failure_class == "pipelines.errors.Cancelled":
            return fail(_of_item(step, item, failed))
        item_results = [step.output.encode(_failure(step, item, failed))]
        finished(item, item_results)
        return item_results

    def note(item: Item, item_results: Results) -> bool:
        failure = failure_in(item_results) if collects else None
        if failure is not None and failing is not None:
            failing.append(Failing(step.index, item, failure))
        return failure is not None

    def checked() -> None:
        check()
        if stored is not None:
            stored.flush_if_due()

    def finished(item: Item, item_results: Results) -> None:
        has_failed = note(item, item_results)
        if stored is not None:
            stored.add(item.index, item_results, failed=has_failed)

    def decoded(documents: Sequence[Any], item: Item) -> Results:
        item_results = _decoded(step, documents, item)
        note(item, item_results)
        return item_results

    limited = (
        watch if watch is not None and any(function.limit_key in watch.limits for function in step.called) else None
    )
    rules = Rules(step.items.parallel, call, partial(_wait, step, delay), give_up, finished, checked, ahead, limited)
    finished_before = {index: partial(decoded, documents) for index, documents in (known or {}).items()}
    is_over = False
    try:
        yield from results(rules, items, finished_before)
        is_over = True
    finally:
        # The checkpoint after the step, or the outcome, has the results of all branches.
        if stored is not None and not (is_over and step.branching is not None):
            stored.flush()


def _wait(step: PlannedStep, delay: ItemDelay, item: Item, failed: Failed) -> float | None:
    """Return the seconds before the next try of an item, None if it has none left."""
    wait = (
        _called(step, item).policy.retries_after(_NO_RETRIES).wait(item.tries + 1, random.random)
        if failed.retryable
        else None
    )
    return None if wait is None else delay(wait.total_seconds())


def _called(step: PlannedStep, item: Item) -> PlannedStep:
    """Return what is called for an item: the step, or one of its branches."""
    return item.encoded.step if isinstance(item.encoded, BranchCall) else step


def _decoded(step: PlannedStep, documents: Sequence[Any], item: Item) -> Results:
    if step.branching is not None:
        from pipelines.worker import branch_steps  # most pipelines, and so most workers, do not need it

        return [branch_steps.decoded(step, item.index, document) for document in documents]
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
    """Return the failure of the step, with the item and its JSON. Both are visible as payloads are.

    It is final if the step declares retries, which are those of the item.
    """
    tries = f" (tried {item.tries + 1} times)" if item.tries else ""
    text = f"{_named(item)}{tries}: {_reason(step, failed)}; the item is {_rendered(item)}"
    retryable = failed.retryable and _called(step, item).policy.retries is None
    return replace(failed, message=message_of(step.name, text), retryable=retryable)


def _named(item: Item) -> str:
    if not isinstance(item.encoded, BranchCall) or item.encoded.step.branch is None:
        return f"item {item.index + 1}"
    of_item = "" if item.encoded.item_index is None else f" of item {item.encoded.item_index + 1}"
    return f"branch {item.encoded.step.branch.name}{of_item}"


def _reason(step: PlannedStep, failed: Failed) -> str:
    return cleaned(failed.message.removeprefix(message_of(step.name, "")), _LONGEST_REASON)


def _rendered(item: Item) -> str:
    return cleaned(_text(item.encoded.document), LONGEST_RENDERING)
