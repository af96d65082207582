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


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class _Hidden(type):
    def __getattribute__(cls, name: str) -> Any:
        if name.startswith("__") and name != "__class__":
            raise RuntimeError("no name")
        return super().__getattribute__(name)


class Hidden(Exception, metaclass=_Hidden):
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


def circular_cause() -> NoReturn:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


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
    "an error whose class has no name": raises(Hidden),
    "an error that is its own cause": circular_cause,
    "a text of control characters": raises(lambda: ValueError("a\0b\x1b[31m\ud800\u202e")),
    "asyncio.CancelledError": raises(asyncio.CancelledError),
    "KeyboardInterrupt": raises(KeyboardInterrupt),
    "SystemExit": lambda: sys.exit(3),
    "StopIteration": raises(StopIteration),
    "recursion without end": recurse,
    "nothing": lambda: None,
    "a generator that is interrupted": yields_then_raises,
    "a cyclic value": cyclic,
    "a value of 100,000 levels": nested(100_000),
    "NaN": returns(float("nan")),
    "half of a surrogate pair": returns("\ud800"),
    "NUL": returns("\0"),
    "too much": lambda: [Free("x" * 20_000_000)],
}
"""Each lets its transition fail."""


def handle_signals() -> None:
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except ValueError:  # Python allows this only in the main thread
        return


TAMPERING: dict[str, Callable[[], None]] = {
    "a high recursion limit": lambda: sys.setrecursionlimit(1_500),
    "signal handlers": handle_signals,
    "silence in the log": lambda: logging.disable(logging.CRITICAL),
    "a closed standard error": lambda: sys.stderr.close(),
}
"""Each lets its transition succeed."""

ONCE: dict[str, Callable[[], Any]] = {
    "os._exit": lambda: os._exit(70),
    "a segmentation fault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
}
"""Each ends the process in its first run and succeeds in the next."""
