"""How an author writes a pipeline: named steps in order, with types from their hints, and awaits between."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar, overload

from pipelines.errors import DefinitionError

AWAIT_TRANSPORTS: Final = ("interaction-api",)

_MAX_NAME: Final = 200
_PIPELINE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Cardinality(StrEnum):
    """How many values a step takes and gives (Wire protocol A.1.2)."""

    ONE_TO_ONE = "ONE_TO_ONE"
    ONE_TO_MANY = "ONE_TO_MANY"
    MANY_TO_ONE = "MANY_TO_ONE"
    MANY_TO_MANY = "MANY_TO_MANY"

    @classmethod
    def of(cls, *, takes_many: bool, gives_many: bool) -> Cardinality:
        return cls(f"{'MANY' if takes_many else 'ONE'}_TO_{'MANY' if gives_many else 'ONE'}")

    @property
    def takes_many(self) -> bool:
        return self in (Cardinality.MANY_TO_ONE, Cardinality.MANY_TO_MANY)

    @property
    def gives_many(self) -> bool:
        return self in (Cardinality.ONE_TO_MANY, Cardinality.MANY_TO_MANY)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """What a step may know about the transition that runs it.

    ``step_index``, ``step_name`` and ``item_index`` are filled in by the runner; ``item_index`` counts the
    items of a stream from 0 and is None where a step is called once.
    """

    tenant_id: str
    execution_id: str
    pipeline_id: str
    contract_version: str
    release_version: str
    attempt: int
    transition_key: str
    step_index: int = -1
    step_name: str = ""
    item_index: int | None = None

    @property
    def idempotency_key(self) -> str:
        """A key for calls to other systems: the same for every attempt of this step (and item)."""
        key = f"{self.execution_id}:{self.step_index}"
        return key if self.item_index is None else f"{key}:item={self.item_index}"


@dataclass(frozen=True, slots=True)
class Step:
    """A function of the author's, run inside the worker."""

    name: str
    function: Callable[..., Any]
    cardinality: Cardinality | None


@dataclass(frozen=True, slots=True)
class Await:
    """A boundary at which an execution waits for an answer from outside.

    ``timeout`` counts from the moment of suspension; ``assignee`` and ``group`` say who may be asked.
    """

    name: str
    request: Any
    response: Any
    transport: str
    timeout: timedelta
    assignee: str | None
    group: str | None

    @property
    def transport_metadata(self) -> Mapping[str, str]:
        """What the transport needs to know beside the request."""
        return {}

    @property
    def step_id(self) -> str:
        """The id of this await on the wire (Wire protocol A.1.2)."""
        return step_id(self.name)


def step_id(authored_name: str) -> str:
    """``Await restaurant decision`` becomes ``ProcessAwaitRestaurantDecisionService`` (wire protocol A.1.2)."""
    words = authored_name.removeprefix("Process ").split(" ")
    return f"Process{''.join(word.lower().capitalize() for word in words)}Service"


class Pipeline:
    """A named, ordered list of steps and awaits.

    ``packages`` names importable packages or modules that are packed into the artifact beside the package
    that holds the pipeline. ``checkpoint`` asks for one after each step: a retry then resumes at the failed step with
    what the steps before it gave. ``module`` is the module that defines the pipeline; it is found by itself
    unless the object is made inside a function of another module.
    """

    def __init__(
        self,
        pipeline_id: str,
        *,
        packages: Sequence[str] = (),
        checkpoint: bool = False,
        module: str | None = None,
    ) -> None:
        if not isinstance(pipeline_id, str) or not _PIPELINE_ID.fullmatch(pipeline_id):
            raise DefinitionError(
                "INVALID_PIPELINE_ID",
                f"{pipeline_id!r} is no pipeline id; use letters, digits, '.', '_' and '-', at most 200 "
                "characters, such as 'org.acme.payments'",
            )
        if isinstance(packages, str):
            raise DefinitionError(
                "INVALID_PACKAGES",
                f"packages is the text {packages!r}; give a tuple, such as ({packages!r},)",
            )
        self.pipeline_id = pipeline_id
        self.packages = tuple(packages)
        self.checkpoint = checkpoint
        self.module = module or str(sys._getframe(1).f_globals.get("__name__", "__main__"))
        self._parts: list[Step | Await] = []

    @property
    def parts(self) -> tuple[Step | Await, ...]:
        """The steps and awaits in the order in which they run."""
        return tuple(self._parts)

    @overload
    def step(self, function: _Function, /) -> _Function: ...

    @overload
    def step(
        self,
        /,
        *,
        name: str | None = None,
        cardinality: Cardinality | str | None = None,
    ) -> Callable[[_Function], _Function]: ...

    def step(
        self,
        function: _Function | None = None,
        /,
        *,
        name: str | None = None,
        cardinality: Cardinality | str | None = None,
    ) -> _Function | Callable[[_Function], _Function]:
        """Add the decorated function as the next step and return it unchanged.

        The name comes from the function (``parse_file`` becomes ``Parse file``) unless given. A
        ``cardinality`` is only a check: the hints say it.

        Raises ``DefinitionError``: NOT_A_FUNCTION, INVALID_STEP_NAME, DUPLICATE_STEP_NAME,
        UNKNOWN_CARDINALITY.
        """

        def add(decorated: _Function) -> _Function:
            function_name = getattr(decorated, "__name__", None)
            if not callable(decorated) or not isinstance(function_name, str) or isinstance(decorated, type):
                raise DefinitionError(
                    "NOT_A_FUNCTION",
                    f"{decorated!r} is no function; a step is a function defined with def at module level",
                )
            authored = humanised(function_name) if name is None else name
            self._append(Step(authored, decorated, _cardinality(authored, cardinality)))
            return decorated

        return add if function is None else add(function)

    def awaits(
        self,
        name: str,
        *,
        request: Any,
        response: Any,
        timeout: timedelta,
        transport: str = "interaction-api",
        assignee: str | None = None,
        group: str | None = None,
    ) -> None:
        """Suspend the execution here: ``request`` goes out, and the run goes on with the ``response``.

        ``request=list[T]`` asks once about a whole stream; ``request=T`` after a step that gives many asks
        once per item. ``timeout`` must be positive.

        Raises ``DefinitionError``: INVALID_STEP_NAME, DUPLICATE_STEP_NAME, INVALID_TIMEOUT,
        UNKNOWN_TRANSPORT.
        """
        if transport not in AWAIT_TRANSPORTS:
            raise DefinitionError(
                "UNKNOWN_TRANSPORT",
                f'await "{name}" has transport {transport!r}; use one of {", ".join(AWAIT_TRANSPORTS)}',
            )
        if not isinstance(timeout, timedelta) or timeout <= timedelta(0):
            raise DefinitionError(
                "INVALID_TIMEOUT",
                f'await "{name}" has timeout {timeout!r}; give a positive timedelta, such as timedelta(days=1)',
            )
        self._append(Await(name, request, response, transport, timeout, assignee, group))

    def _append(self, part: Step | Await) -> None:
        if (
            not isinstance(part.name, str)
            or not part.name.strip()
            or len(part.name) > _MAX_NAME
            or not part.name.isprintable()
        ):
            raise DefinitionError(
                "INVALID_STEP_NAME",
                f"{part.name!r} is no step name; use 1 to {_MAX_NAME} printable characters",
            )
        if any(step_id(part.name) == step_id(known.name) for known in self._parts):
            raise DefinitionError(
                "DUPLICATE_STEP_NAME",
                f'pipeline {self.pipeline_id} already has a step named "{part.name}" (capitals do not '
                "count); "
                "give one of them another name, such as @pipeline.step(name=...)",
            )
        self._parts.append(part)

    def __repr__(self) -> str:
        return f"<Pipeline {self.pipeline_id} in {self.module}, {len(self._parts)} steps>"


def humanised(function_name: str) -> str:
    """``parse_file`` becomes ``Parse file``."""
    words = " ".join(function_name.replace("_", " ").split())
    return words[:1].upper() + words[1:]


def _cardinality(name: str, value: Cardinality | str | None) -> Cardinality | None:
    if value is None:
        return None
    try:
        return Cardinality(value)
    except ValueError:
        known = ", ".join(Cardinality)
        raise DefinitionError(
            "UNKNOWN_CARDINALITY",
            f'step "{name}" has cardinality {value!r}; use one of {known}',
        ) from None
