"""Steps with several functions in a contract: all branches run, or one is chosen (ADR 127). Pure."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from wire.documents.shape import ArrayOrNull, Document, IdentifierOrNull, RequiredText

GATHER: Final = "gather"
CHOOSE: Final = "choose"
MOST_BRANCHES: Final = 50
LONGEST_BRANCH: Final = 100


class Branch(Document):
    """One branch. `name` is the member of the output of a `gather`, or what the route of a `choose` returns."""

    name: RequiredText
    runtime_class: IdentifierOrNull = None
    output_type_id: IdentifierOrNull = None


def _two_or_more(branches: tuple[Branch, ...]) -> tuple[Branch, ...]:
    if not 2 <= len(branches) <= MOST_BRANCHES or len({branch.name for branch in branches}) < len(branches):
        message = "a step has 2 to {most} branches with different names"
        raise PydanticCustomError("CONTRACT_BRANCHES_INVALID", message, {"most": MOST_BRANCHES})
    return branches


def _known(kind: str) -> str:
    if kind not in (GATHER, CHOOSE):
        raise PydanticCustomError("CONTRACT_BRANCHES_INVALID", "the kind of branches is gather or choose")
    return kind


class Branching(Document):
    """The branches of a step. `route` names the function that chooses one of them."""

    kind: Annotated[RequiredText, AfterValidator(_known)]
    route: IdentifierOrNull = None
    branches: Annotated[tuple[Branch, ...], AfterValidator(_two_or_more), ArrayOrNull]

    @property
    def text(self) -> str:
        """What runs, in words: `all of price, stock` or `one of big, small`."""
        names = ", ".join(branch.name for branch in self.branches)
        return f"{'all' if self.kind == GATHER else 'one'} of {names}"


def branches_type(step_name: str) -> str:
    """Return the name of the record type that a `gather` gives. No class of an author has such a name."""
    return f"{step_name}#branches"
