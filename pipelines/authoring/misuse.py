"""Reports how an author calls the methods of a pipeline wrongly: all mistakes of a module at once, with the options."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pipelines.authoring import places
from pipelines.errors import DefinitionError
from pipelines.step_policy import StepOptions

_Options = ParamSpec("_Options")
_Result = TypeVar("_Result")
_loading: ContextVar[bool] = ContextVar("loading", default=False)


@contextmanager
def loading() -> Iterator[None]:
    """In the block, pipelines collect the mistakes of their steps instead of raising them, so that all are reported."""
    token = _loading.set(True)
    try:
        yield
    finally:
        _loading.reset(token)


def is_loading() -> bool:
    return _loading.get()


def checks_options(method: Callable[_Options, _Result]) -> Callable[_Options, _Result]:
    """Report unknown and missing options of a method as a ``DefinitionError`` INVALID_OPTIONS that names the options.

    While ``loading``, the pipeline notes the error, and the method is called without the unknown options.
    """
    return _checking(method, list(inspect.signature(method).parameters))


def checks_step_options(method: Callable[_Options, _Result]) -> Callable[_Options, _Result]:
    """Do what ``checks_options`` does, for a method that also takes ``StepOptions``."""
    *named, _ = inspect.signature(method).parameters
    return _checking(method, [*named, *StepOptions.__annotations__])


def _checking(method: Callable[_Options, _Result], parameters: Sequence[str]) -> Callable[_Options, _Result]:
    signature = inspect.signature(method)

    @wraps(method)
    def call(*given: _Options.args, **options: _Options.kwargs) -> _Result:
        known: dict[str, Any] = {name: value for name, value in options.items() if name in parameters}
        unbound = ""
        try:
            signature.bind(*given, **known)
        except TypeError as error:
            unbound = str(error)
        if not unbound and len(known) == len(options):
            return method(*given, **options)
        unknown = [name for name in options if name not in known]
        text = _misuse(method.__name__, unknown, unbound, parameters)
        mistake = DefinitionError("INVALID_OPTIONS", text, places.of_frame(places.author_frame()))
        if method.__name__ == "__init__" or not is_loading():
            raise mistake
        pipeline, rest = typing.cast("tuple[Any, ...]", given)[0], given[1:]
        pipeline.note(mistake)
        return typing.cast("_Result", None if unbound else typing.cast("Any", method)(pipeline, *rest, **known))

    return call


def _misuse(method: str, unknown: Sequence[str], unbound: str, parameters: Sequence[str]) -> str:
    """Return what is wrong with the options of a call, and which there are."""
    called = "Pipeline" if method == "__init__" else f"pipeline.{method}"
    names = [name for name in parameters if name not in ("self", "function")]
    options = f"its options are {', '.join(names)}"
    if not unknown:
        return f"{called} is {unbound}; {options}" if "missing" in unbound else f"{called}: {unbound}; {options}"
    close = [f"{near[0]}=" for name in unknown if (near := get_close_matches(name, names, n=1))]
    advice = f"did you mean {', '.join(close)}? {options.capitalize()}" if close else options
    return f"{called} has no option {', '.join(map(repr, unknown))}; {advice}"


def no_function(decorated: object) -> str:
    """Return what is wrong with a step that is no function, and what to write instead."""
    kind = "a class" if isinstance(decorated, type) else f"a {type(decorated).__name__}"
    return f"a step is a function that is defined with def at module level, not {kind}; write def NAME(value: T) -> U"
