"""How a step runs for the items of a stream: in parallel, and what happens to an item that fails."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Any, Final, Literal

from pipelines.errors import DefinitionError
from wire.documents.step_policy import MOST_PARALLEL

ON_FAILURE: Final = ("fail", "collect")
OnFailure = Literal["fail", "collect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFailure:
    """An item for which a step with ``on_item_failure="collect"`` failed. It takes the place of the item's result.

    In JSON, ``kind`` distinguishes it from other results. ``index`` counts the items from 0. ``error`` is the name of
    the exception's class, or a code such as INVALID_STEP_OUTPUT. ``message`` is the text of the exception. ``item`` is
    the JSON of the item, truncated to 200 characters. ``tries`` counts the calls of the step for it from 1.
    """

    kind: Literal["item-failure"] = "item-failure"
    index: int
    error: str
    message: str
    item: str
    tries: int


@dataclass(frozen=True, slots=True)
class ItemRules:
    """``parallel`` is how many items a transition runs at a time. ``collects``: failed items become `ItemFailure`."""

    parallel: int
    collects: bool

    def declared(self) -> dict[str, Any]:
        """Return the declaration, as `wire.documents.step_policy` describes it."""
        return {"parallel": self.parallel, **({"onItemFailure": "collect"} if self.collects else {})}


def rules(name: str, parallel: int | None, on_item_failure: str | None) -> ItemRules | None:
    """Return the rules that a step declares, None for a step without ``parallel``.

    Raises ``DefinitionError`` INVALID_PARALLEL.
    """
    if parallel is None and on_item_failure is None:
        return None
    problem = ""
    if parallel is None:
        problem = f"has on_item_failure={on_item_failure!r} without parallel; add parallel=1 or more"
    elif isinstance(parallel, bool) or not isinstance(parallel, int) or not 1 <= parallel <= MOST_PARALLEL:
        problem = f"has parallel={parallel!r}; give a whole number from 1 to {MOST_PARALLEL}"
    elif on_item_failure not in (None, *ON_FAILURE):
        problem = f'has on_item_failure={on_item_failure!r}; use one of "fail" and "collect"'
    if problem or parallel is None:
        raise DefinitionError("INVALID_PARALLEL", f'step "{name}" {problem}')
    return ItemRules(parallel, on_item_failure == "collect")


def problem_of(items: ItemRules, function: Any, *, takes_many: bool, follows_stream: bool, type_id: str) -> str:
    """Return why a step with these rules does not run for the items of a stream; an empty text if it does.

    ``type_id`` is the type of one item.
    """
    if takes_many:
        return f"takes the whole stream; let it take one item, {type_id}, or remove parallel"
    if not follows_stream:
        return "runs once, because no step before it gives a stream; remove parallel"
    if items.collects and not _may_give_failures(function):
        return 'has on_item_failure="collect", but its return hint lacks ItemFailure; write -> Receipt | ItemFailure'
    return ""


def _may_give_failures(function: Any) -> bool:
    from pipelines.authoring.catalogue import plain  # imports pydantic, which few steps need here

    hint = plain(typing.get_type_hints(function, include_extras=True)["return"])
    rest = [hint]
    while rest:
        inner = plain(rest.pop())
        if inner is ItemFailure:
            return True
        rest += typing.get_args(inner)
    return False
