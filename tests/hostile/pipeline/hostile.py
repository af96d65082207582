"""A pipeline with one step that misbehaves. Its input names the trick."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pipelines import NonRetryable, Pipeline, StepContext


@dataclass
class Order:
    """`runs` is a file that gets a line for each run. Tricks that work only once leave marks next to it."""

    number: int
    trick: str
    runs: str = ""


@dataclass
class Free:
    value: Any


pipeline = Pipeline("tests.hostile")


@pipeline.step
def act(order: Order, context: StepContext) -> Iterable[Free]:
    if order.runs:
        with Path(order.runs).open("a") as runs:
            runs.write(f"{context.execution_id} act {context.release_version} {context.attempt}\n")
    if order.trick == "well":
        return [Free(order.number)]
    if order.trick in ONCE:
        mark = Path(f"{order.runs}.{order.number}")
        if not mark.exists():
            mark.touch()
            ONCE[order.trick]()
        return [Free(order.number)]
    if order.trick in TAMPERING:
        TAMPERING[order.trick]()
        return [Free(order.number)]
    result: Iterable[Free] = TRICKS[order.trick]()
    return result


# --- raised errors --------------------------------------------------------------------------------


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Nameless(Exception):
    def __str__(self) -> str:
        return None  # noqa: PLE0307


class Leaving(Exception):
    def __str__(self) -> str:  # noqa: PLE0307
        sys.exit("in the middle of a message")


class Slippery(str):
    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise KeyboardInterrupt

    __getitem__ = __len__ = __format__ = __eq__ = __hash__ = replace = encode = strip = __iter__ = _refuse


class Worded(Exception):
    def __str__(self) -> str:
        return Slippery("slippery words")


class _Hidden(type):
    def __getattribute__(cls, name: str) -> Any:
        if name.startswith("__") and name != "__class__":
            raise RuntimeError("no name")
        return super().__getattribute__(name)


class Hidden(Exception, metaclass=_Hidden):
    pass


class Causeless(Exception):
    @property
    def __cause__(self) -> BaseException:
        raise RuntimeError("no cause")

    __context__ = __traceback__ = __notes__ = __suppress_context__ = __cause__


class Shutdown(SystemExit):
    pass


class MuteAndFinal(NonRetryable):
    def __str__(self) -> str:
        raise GeneratorExit


def raises(error: Callable[[], BaseException]) -> Callable[[], NoReturn]:
    def trick() -> NoReturn:
        raise error()

    return trick


def recurse() -> NoReturn:
    recurse()
    raise AssertionError


def add_step() -> None:
    pipeline.step(circular_cause)


def circular_cause() -> NoReturn:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def group() -> BaseException:
    inner = [Mute(), ExceptionGroup("inner", [Nameless(), ValueError("deep")])]
    return BaseExceptionGroup("many at once", [KeyboardInterrupt(), ExceptionGroup("outer", inner)])


# --- returned values ------------------------------------------------------------------------------


class LazyQuery:
    def __iter__(self) -> Iterator[Free]:
        raise ConnectionError("the database is down")


class Exhausted:
    def __iter__(self) -> Iterator[Free]:
        return self

    def __next__(self) -> Free:
        raise asyncio.CancelledError


class Faceless:
    @property
    def __class__(self) -> type:
        raise KeyboardInterrupt

    def __getattr__(self, name: str) -> NoReturn:
        raise GeneratorExit(name)


class ClosedFree(Free):
    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt


def yields_then_raises() -> Iterator[Free]:
    yield Free(1)
    raise KeyboardInterrupt


def cyclic() -> list[Free]:
    circle: list[Any] = []
    circle.append(circle)
    return [Free(circle)]


def nested(levels: int) -> Callable[[], list[Free]]:
    def trick() -> list[Free]:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return [Free(value)]

    return trick


def returns(value: Any) -> Callable[[], list[Free]]:
    return lambda: [Free(value)]


TRICKS: dict[str, Callable[[], Any]] = {
    "an error": raises(lambda: RuntimeError("no luck")),
    "a final error": raises(lambda: NonRetryable("never")),
    "an error whose text raises": raises(Mute),
    "a final error whose text raises": raises(MuteAndFinal),
    "an error whose text is None": raises(Nameless),
    "an error whose text exits": raises(Leaving),
    "an error whose text is no plain str": raises(Worded),
    "an error whose class has no name": raises(Hidden),
    "an error whose cause raises": raises(Causeless),
    "an error that is its own cause": circular_cause,
    "a text of ten million characters": raises(lambda: ValueError("x" * 10_000_000)),
    "a text of control characters": raises(lambda: ValueError("a\0b\x1b[31m\ud800\u202e")),
    "a group of errors": raises(group),
    "asyncio.CancelledError": raises(asyncio.CancelledError),
    "KeyboardInterrupt": raises(KeyboardInterrupt),
    "GeneratorExit": raises(GeneratorExit),
    "SystemExit": lambda: sys.exit(3),
    "a shutdown of the worker": raises(Shutdown),
    "StopIteration": raises(StopIteration),
    "MemoryError": raises(MemoryError),
    "recursion without end": recurse,
    "another step": add_step,
    "nothing": lambda: None,
    "a text": lambda: "text",
    "an iterable that cannot begin": LazyQuery,
    "an iterable that is cancelled": Exhausted,
    "an object without a class": Faceless,
    "a generator that is interrupted": yields_then_raises,
    "an item without attributes": lambda: [ClosedFree(1)],
    "an item that is no item": lambda: [object()],
    "a cyclic value": cyclic,
    "a value of 300 levels": nested(300),
    "a value of 100,000 levels": nested(100_000),
    "NaN": returns(float("nan")),
    "infinity": returns([{"a": float("-inf")}]),
    "half of a surrogate pair": returns("\ud800"),
    "half of a surrogate pair as a key": returns({"\ud800": 1}),
    "NUL": returns("\0"),
    "an object": lambda: [Free(object())],
    "bytes": returns(b"\xff"),
    "a number of 5,000 digits": lambda: [Free(10**5_000)],
    "too much": lambda: [Free("x" * 20_000_000)],
}
"""Each lets its transition fail."""


# --- changes of the process -----------------------------------------------------------------------


def handle_signals() -> None:
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except ValueError:  # Python allows this only in the main thread
        return


TAMPERING: dict[str, Callable[[], None]] = {
    "a high recursion limit": lambda: sys.setrecursionlimit(1_500),
    "signal handlers": handle_signals,
    "silence in the log": lambda: logging.disable(logging.CRITICAL),
    "no log handlers": logging.getLogger().handlers.clear,
    "no standard output": lambda: setattr(sys, "stdout", None),
    "a closed standard error": lambda: sys.stderr.close(),
    "another directory": lambda: os.chdir("/"),
    "an empty environment": os.environ.clear,
}
"""Each lets its transition succeed."""

ONCE: dict[str, Callable[[], Any]] = {
    "os._exit": lambda: os._exit(70),
    "a segmentation fault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
}
"""Each ends the process in its first run and succeeds in the next."""
