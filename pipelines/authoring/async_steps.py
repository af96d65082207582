"""The rules for steps that are ``async def``. Their contract is that of the same step with ``def``."""

from __future__ import annotations

import inspect
import typing
from collections import abc
from collections.abc import Callable
from typing import Any, Final

from pipelines.authoring.catalogue import plain
from pipelines.errors import DefinitionError

_ASYNC_STREAMS: Final = (abc.AsyncIterator, abc.AsyncIterable, abc.AsyncGenerator)


def without_async(
    where: str, function: Callable[..., Any], hints: dict[str, Any], taken: str
) -> tuple[dict[str, Any], bool]:
    """Return the hints of a step as an ordinary step has them: ``Iterator[T]`` instead of ``AsyncIterator[T]``.

    ``taken`` is the name of the first parameter. Also returns whether it is an async stream. Raises ``DefinitionError``
    ASYNC_STEP if an async function yields without such a return hint, or has it and does not yield.
    """
    returned = hints.get("return")
    generates, is_stream = inspect.isasyncgenfunction(function), _is_async_stream(returned)
    if generates and "return" in hints and not is_stream:
        text = f"{where} yields its results, so its return hint is AsyncIterator[T], such as AsyncIterator[Order]"
        raise DefinitionError("ASYNC_STEP", text)
    if is_stream and inspect.iscoroutinefunction(function):
        text = f"{where} returns an async stream; write async def with yield, or return list[T]"
        raise DefinitionError("ASYNC_STEP", text)
    reads_async = _is_async_stream(hints.get(taken))
    streams = [name for name, is_one in (("return", generates and is_stream), (taken, reads_async)) if is_one]
    return {**hints, **{name: _as_iterator(hints[name]) for name in streams}}, reads_async


def _is_async_stream(hint: Any) -> bool:
    bare = plain(hint)
    return bare in _ASYNC_STREAMS or typing.get_origin(bare) in _ASYNC_STREAMS


def _as_iterator(hint: Any) -> Any:
    stream: Any = abc.Iterator
    items = typing.get_args(plain(hint))
    return stream[items[0]] if items else stream
