"""Defines pipelines: named steps in order, with types from their hints, and the questions between them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar, Unpack, overload

from pipelines import step_policy
from pipelines.authoring import branches as branching
from pipelines.authoring import cardinality as cardinalities
from pipelines.authoring import places
from pipelines.authoring.branches import Branch, Branching
from pipelines.authoring.cardinality import Cardinality
from pipelines.authoring.concurrency import Concurrency
from pipelines.authoring.concurrency import checked as concurrency_checked
from pipelines.authoring.items import ItemRules, OnFailure, rules
from pipelines.authoring.misuse import checks_options, checks_step_options, is_loading, no_function
from pipelines.authoring.step_tools import StepTools
from pipelines.authoring.waits import (
    PIPELINE_ID,
    Active,
    Await,
    check_recipient,
    check_transport,
    checked_call,
    waiting_time,
)
from pipelines.errors import Cancelled, DefinitionError, placed
from pipelines.step_policy import NO_POLICY, StepOptions, StepPolicy
from wire.documents.contract import CHILD, TIMER
from wire.identity import step_id
from wire.messages.celery_messages import LONGEST_STEP_ID

_MAX_NAME: Final = 200
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext(StepTools):
    """What a step can know about its execution. A parameter with this type as its hint receives it.

    ``tenant_id``, ``execution_id`` and ``pipeline_id`` name the execution. ``contract_version`` (``sha256:`` and 64
    hexadecimal digits) and ``release_version`` are its pin. ``step_name`` is the name of the step, and ``step_index``
    counts the steps from 0. ``item_index`` counts the items of a stream from 0; it is None if the step is called once.
    ``branch`` is the name of the branch that runs, and empty for a step without branches. ``attempt`` counts the
    attempts from 0. ``transition_key`` identifies the attempt: it stays the same if another worker takes the attempt
    over.

    A long step should check ``cancelled``, or call ``raise_if_cancelled()``, between parts of its work.
    ``pipelines.testing.context`` makes a context for tests.
    """

    tenant_id: str
    execution_id: str
    pipeline_id: str
    contract_version: str
    release_version: str
    attempt: int
    transition_key: str
    step_name: str = ""
    cancellation: Callable[[], bool] = field(default=_never, repr=False, compare=False)

    @property
    def cancelled(self) -> bool:
        """True once the outcome of this attempt no longer counts.

        The execution was cancelled, or the worker lost its lease and another worker runs the execution. It never
        becomes False again. Reading it is cheap.
        """
        return self.cancellation()

    def raise_if_cancelled(self) -> None:
        """Raise ``Cancelled`` once ``cancelled`` is True, to end the step early."""
        if self.cancelled:
            raise Cancelled

    @property
    def idempotency_key(self) -> str:
        """A key for calls to other systems. It is the same for every attempt of this step, item and branch."""
        key = f"{self.execution_id}:{self.step_index}"
        if self.branch:
            key = f"{key}:branch={self.branch}"
        return key if self.item_index is None else f"{key}:item={self.item_index}"


@dataclass(frozen=True, slots=True)
class Step:
    """A function of the author, which a worker runs. ``cardinality`` is the one that the author named, if any.

    ``policy`` says when a failure is retried, and how long a call may take.
    """

    name: str
    function: Callable[..., Any]
    cardinality: Cardinality | None
    policy: StepPolicy = NO_POLICY
    items: ItemRules | None = None

    @property
    def place(self) -> str:
        """The author's file and line."""
        return places.of_function(self.function)


Part = Step | Await | Branching


class Pipeline:
    """A named list of steps, questions, calls and timers, which run in the order in which they are added.

    ``pipeline_id`` has at most 200 letters, digits, ``.``, ``_`` and ``-``. ``packages`` names importable packages or
    modules to pack into the artifact, in addition to the package that contains the pipeline. With ``checkpoint``, the
    output of each step is stored, and a retry resumes at the failed step. ``search`` names up to eight fields of the
    input by which executions are found: a mapping of names to paths, such as ``customer.id``. ``concurrency`` limits
    how many executions start, and are in progress at once. ``config`` and ``secrets`` name what steps need from the
    environment of their worker, together at most 100. ``config`` maps names to types: str, int, float or bool.
    ``module`` is the name of the module that defines the pipeline. Set it only if a function of another module creates
    the pipeline.

    Raises ``DefinitionError``: INVALID_PIPELINE_ID, INVALID_PACKAGES, INVALID_SEARCH, INVALID_CONCURRENCY,
    INVALID_CONFIG.
    """

    @checks_options
    def __init__(
        self,
        pipeline_id: str,
        *,
        packages: Sequence[str] = (),
        checkpoint: bool = False,
        search: Mapping[str, str] | None = None,
        concurrency: Concurrency | None = None,
        config: Mapping[str, type] | None = None,
        secrets: Sequence[str] = (),
        module: str | None = None,
    ) -> None:
        self.place = places.of_frame(places.author_frame())
        if not isinstance(pipeline_id, str) or not PIPELINE_ID.fullmatch(pipeline_id):
            raise DefinitionError(
                "INVALID_PIPELINE_ID",
                f"{pipeline_id!r} is not a pipeline id; use letters, digits, '.', '_' and '-', at most 200 "
                "characters, such as 'org.acme.payments'",
                self.place,
            )
        if isinstance(packages, str):
            text = f"packages is the text {packages!r}; give a tuple, such as ({packages!r},)"
            raise DefinitionError("INVALID_PACKAGES", text, self.place)
        self.pipeline_id = pipeline_id
        self.packages = tuple(packages)
        self.checkpoint = checkpoint
        self.module = module or str(places.author_frame().f_globals.get("__name__", "__main__"))
        self.concurrency = concurrency_checked(concurrency, self.place)
        self.search: dict[str, str] = {}
        if search is not None:
            from pipelines.authoring.search import checked  # most pipelines, and so most workers, do not need it

            self.search = checked(search, self.place)
        self.config: dict[str, type] = {}
        self.secrets: tuple[str, ...] = ()
        if config or secrets:
            from pipelines.authoring import step_settings

            self.config, self.secrets = step_settings.declared(config, secrets, self.place)
        self._parts: list[Part] = []
        self._closed = False
        self._mistakes: list[DefinitionError] = []

    def close(self) -> None:
        """Accept no more steps, because a pipeline must not change while a worker hosts it."""
        self._closed = True

    @property
    def mistakes(self) -> tuple[DefinitionError, ...]:
        """The errors of steps and awaits that were added while ``loading``. ``parts`` does not contain these steps."""
        return tuple(self._mistakes)

    def note(self, mistake: DefinitionError) -> None:
        """Add a mistake that is reported with the others when the pipeline is loaded."""
        self._mistakes.append(mistake)

    @property
    def parts(self) -> tuple[Part, ...]:
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
        parallel: int | None = None,
        on_item_failure: OnFailure | None = None,
        **policy: Unpack[StepOptions],
    ) -> Callable[[_Function], _Function]: ...

    @checks_step_options
    def step(
        self,
        function: _Function | None = None,
        /,
        *,
        name: str | None = None,
        cardinality: Cardinality | str | None = None,
        parallel: int | None = None,
        on_item_failure: OnFailure | None = None,
        **policy: Unpack[StepOptions],
    ) -> _Function | Callable[[_Function], _Function]:
        """Add the decorated function as the next step and return it unchanged.

        The default name is made from the function's: ``parse_file`` becomes ``Parse file``. The type hints determine
        the cardinality; ``cardinality`` only checks it. ``parallel`` runs the step for that many items of a stream at a
        time (1 to 256), in threads. If an item fails and has no retries left, ``on_item_failure="fail"``, the default,
        fails the attempt. With ``"collect"``, an ``ItemFailure`` takes the place of its result. ``StepOptions`` has the
        other options.

        Raises ``DefinitionError``: NOT_A_FUNCTION, INVALID_STEP_NAME, DUPLICATE_STEP_NAME, UNKNOWN_CARDINALITY,
        INVALID_STEP_POLICY, INVALID_PARALLEL.
        """

        def add(decorated: _Function) -> _Function:
            with self._collecting_mistakes(decorated):
                function_name = getattr(decorated, "__name__", None)
                if not callable(decorated) or not isinstance(function_name, str) or isinstance(decorated, type):
                    raise DefinitionError("NOT_A_FUNCTION", no_function(decorated))
                authored = places.humanised(function_name) if name is None else name
                named = cardinalities.checked(authored, cardinality)
                policies, items = step_policy.checked(authored, policy), rules(authored, parallel, on_item_failure)
                self._append(Step(authored, decorated, named, policies, items))
            return decorated

        return add if function is None else add(function)

    @checks_options
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
        url: str | None = None,
        when: Callable[..., bool | Awaitable[bool]] | None = None,
    ) -> None:
        """Ask a question here. The execution waits, and resumes with the answer as the input of the next step.

        ``request`` and ``response`` are the type hints of question and answer. ``request=list[T]`` asks one question
        about a whole stream. ``request=T`` after a step that gives many asks one for each item. ``timeout`` is positive
        and at most a hundred years; after it, the execution fails. People and clients answer. With
        ``transport="webhook"``, the coordinator sends the request to ``url``, an http or https URL of at most 2,000
        characters. ``assignee``, a user name or an e-mail address, has at most 200 characters, and ``group`` 100. If
        one is set, only that person and members of the tenant with that group may answer, unless the policy of the
        pipeline says otherwise. ``when`` is a function that takes the request. If it returns False, nothing is asked,
        and the next step gets None as the answer: ``def book(invoice: Invoice, decision: Decision | None)``.

        Raises ``DefinitionError``: INVALID_STEP_NAME, DUPLICATE_STEP_NAME, INVALID_TIMEOUT,
        UNKNOWN_TRANSPORT, INVALID_URL, INVALID_RECIPIENT.
        """
        with self._collecting_mistakes() as place:
            check_transport(name, transport, url)
            check_recipient(name, "assignee", assignee)
            check_recipient(name, "group", group)
            waiting = waiting_time(name, timeout)
            self._append(Await(name, request, response, transport, waiting, assignee, group, url, when, place))

    @checks_options
    def calls(
        self,
        name: str,
        pipeline_id: str,
        *,
        request: Any,
        response: Any,
        release: str | Active,
        timeout: timedelta,
    ) -> None:
        """Run another pipeline of the tenant here. The execution waits, and resumes with its result.

        ``request`` and ``response`` are type hints of the child's input and result. As in ``awaits``, ``request=T``
        after a step that gives many runs one child for each item. ``release`` is ``ACTIVE``, the release that is
        active when the child is submitted, or a version. A version must be active then, or have been replaced within
        the called pipeline's ``skewGraceMinutes``. ``timeout`` is positive and at most a hundred years. After it, the
        execution fails, and the child continues.

        Raises ``DefinitionError``: INVALID_STEP_NAME, DUPLICATE_STEP_NAME, INVALID_TIMEOUT, INVALID_PIPELINE_ID,
        INVALID_RELEASE.
        """
        with self._collecting_mistakes() as place:
            call, waiting = checked_call(name, pipeline_id, release), waiting_time(name, timeout)
            self._append(Await(name, request, response, CHILD, waiting, None, None, place=place, child=call))

    @checks_options
    def timer(self, name: str, delay: timedelta, *, of: Any = None) -> None:
        """Wait here for ``delay``. The execution then resumes with the same values.

        ``delay`` is positive and at most a hundred years. The type of the values is that of the step before. A pipeline
        that begins with a timer must name it: ``of=T``.

        Raises ``DefinitionError``: INVALID_STEP_NAME, DUPLICATE_STEP_NAME, INVALID_TIMEOUT.
        """
        with self._collecting_mistakes() as place:
            self._append(Await(name, of, of, TIMER, waiting_time(name, delay), None, None, place=place))

    @checks_options
    def gather(
        self, *branches: Callable[..., Any] | Branch, name: str | None = None, parallel: int | None = None
    ) -> None:
        """Add a step that calls several functions with the same value at once, in threads, and joins their results.

        The next step takes one parameter for each branch, with its name: ``def offer(price: Price, stock: Stock)``. The
        2 to 50 branches are functions that are defined with ``def`` or ``async def``. ``branch(function, retries=3)``
        gives a branch a policy. The default name joins their names: ``Price and stock``. At most ``parallel`` calls (1
        to 256) run at a time, by default all.

        Raises ``DefinitionError``: INVALID_STEP_NAME, DUPLICATE_STEP_NAME, INVALID_BRANCHES, NOT_A_FUNCTION,
        INVALID_STEP_POLICY, INVALID_PARALLEL.
        """
        with self._collecting_mistakes() as place:
            self._append(branching.gathered(name, branches, parallel, place))

    def choose(self, route: Callable[..., Any], /, **branches: Callable[..., Any] | Branch) -> None:
        """Add a step that calls one of several functions: the one that ``route`` names.

        ``route`` takes the same value as the branches, and its return hint has their names:
        ``Literal["big", "small"]``. It must return the same name for the same value, because a retry calls it again.
        The step has the name of the route. Its output type is that of the branches, or the union of their types.

        Raises ``DefinitionError``: INVALID_STEP_NAME, DUPLICATE_STEP_NAME, INVALID_BRANCHES, NOT_A_FUNCTION,
        INVALID_STEP_POLICY.
        """
        with self._collecting_mistakes() as place:
            self._append(branching.chosen(route, branches, place))

    @contextmanager
    def _collecting_mistakes(self, function: object = None) -> Iterator[str]:
        """While ``loading``, collect the errors that the block raises, so that all are reported at once.

        Their place is that of the function, or by default of the author's call, which the block gets.
        """
        place = places.of_frame(places.author_frame())
        try:
            with placed(lambda: places.of_function(function) or place):
                yield place
        except DefinitionError as error:
            if not is_loading():
                raise
            self._mistakes.append(error)

    def _append(self, part: Part) -> None:
        if self._closed:
            raise DefinitionError(
                "PIPELINE_CLOSED",
                f"pipeline {self.pipeline_id} is hosted by a worker; add steps at the top of its module",
            )
        if (
            not isinstance(part.name, str)
            or not part.name.strip()
            or len(part.name) > _MAX_NAME
            or not part.name.isprintable()
        ):
            raise DefinitionError(
                "INVALID_STEP_NAME", f"{part.name!r} is not a step name; use 1 to {_MAX_NAME} printable characters"
            )
        if len(step_id(part.name)) > LONGEST_STEP_ID:
            raise DefinitionError(
                "INVALID_STEP_NAME",
                f'"{part.name}" makes a step id of more than {LONGEST_STEP_ID} characters; shorten it',
            )
        for known in self._parts:
            if step_id(part.name) == step_id(known.name):
                functions = {getattr(getattr(each, "function", each), "__name__", "") for each in (part, known)}
                one_function = len(functions) == 1 and "" not in functions
                other = "function another name" if one_function else f'step another name: name="{part.name} again"'
                raise DefinitionError(
                    "DUPLICATE_STEP_NAME",
                    f'pipeline {self.pipeline_id} already has a step named "{known.name}", in {known.place} (capitals '
                    f"do not count); give one {other}",
                )
        self._parts.append(part)

    def __repr__(self) -> str:
        return f"<Pipeline {self.pipeline_id} in {self.module}, {len(self._parts)} steps>"
