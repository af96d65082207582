"""What a step of a pipeline calls, as the pinned contract says, and how the child execution is found (ADR 129).

The key of a child follows from its parent, the step and the item. So there is one child for each of them, for any
process that submits it, and for any number of attempts.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

from executions.models import PAYLOADS, Execution, Interaction
from wire.documents.contract import CHILD

PREFIX: Final = "child:"
"""How the keys of children begin. Callers may use such keys too, so only `parent_id` proves a child."""

CHILDREN_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Call:
    """A pipeline that a step calls. `release_version` is None for the release that is active at that time."""

    pipeline_id: str
    release_version: str | None

    @classmethod
    def of(cls, steps: Any, step_index: int) -> Self | None:
        """Return what a step in the document of a contract calls; None if it calls nothing."""
        step = steps[step_index] if isinstance(steps, list) and 0 <= step_index < len(steps) else {}
        name = step.get("callsPipeline") if step.get("awaitTransport") == CHILD else None
        return cls(name, step.get("callsRelease")) if name else None

    def __str__(self) -> str:
        return f"{self.pipeline_id} {self.release_version or '(active release)'}"


@dataclass(frozen=True, slots=True)
class Place:
    """The step and the item of a parent that a child belongs to. `item_index` is None if there is one request."""

    parent_id: uuid.UUID
    step_index: int
    item_index: int | None

    @property
    def key(self) -> str:
        """The idempotency key of the child."""
        item = "" if self.item_index is None else f":{self.item_index}"
        return f"{PREFIX}{self.parent_id}:{self.step_index}{item}"

    @classmethod
    def of(cls, question: Interaction) -> Self:
        return cls(question.execution_id, question.step_index, question.item_index)

    @classmethod
    def of_child(cls, child: Execution) -> Self:
        """Return the place of a child. The database guarantees the form of its key."""
        parent, step, *item = child.execution_key.removeprefix(PREFIX).split(":")
        return cls(uuid.UUID(parent), int(step), int(item[0]) if item else None)


def call_of(parent: Execution, step_index: int) -> Call | None:
    """Return what the step of an execution calls, as the contract of its pinned release says."""
    contract = parent.release.contract
    return Call.of(contract.document.get("steps"), step_index) if contract else None


def children_of(questions: Iterable[Interaction]) -> dict[uuid.UUID, Execution]:
    """Return the child of each question that has one, by the id of the question. Reads no payloads."""
    places = {Place.of(question).key: question for question in questions if question.transport == CHILD}
    if not places:
        return {}
    parents = {place.execution_id for place in places.values()}
    rows = Execution.objects.filter(parent_id__in=parents, execution_key__in=[*places]).defer(*PAYLOADS)
    return {places[row.execution_key].pk: row for row in rows}


def children(parent: Execution) -> list[Execution]:
    """Return the newest children of an execution, newest first, at most CHILDREN_SHOWN, without payloads.

    Executions of a release that calls no pipeline have none: `releases.step_names.calls_pipelines`.
    """
    return list(Execution.objects.filter(parent_id=parent.pk).defer(*PAYLOADS).order_by("-id")[:CHILDREN_SHOWN])
