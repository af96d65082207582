"""A built and released pipeline whose steps wait until the test opens their gates."""

import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from pipelines.release.descriptor import release
from pipelines.release.packaging import build
from tests.running import eventually

SOURCE = """
from collections import defaultdict
from dataclasses import dataclass
from threading import Event

from pipelines import Pipeline, StepContext

pipeline = Pipeline("tests.gated", checkpoint=True)
begun = []
gates = defaultdict(Event)


@dataclass
class Order:
    number: int


@pipeline.step
def accept(order: Order) -> Order:
    return order


@pipeline.step
def settle(order: Order, context: StepContext) -> Order:
    begun.append(order.number)
    while order.number >= 100 and not gates[order.number].wait(0.01):
        context.raise_if_cancelled()
    if order.number == 13:
        raise RuntimeError("thirteen fails")
    return Order(order.number * 10)
"""


@dataclass
class Gated:
    """A pipeline whose second step waits at a separate gate for each number >= 100, and fails for 13."""

    module: ModuleType
    descriptor: Path

    @property
    def reference(self) -> str:
        return f"{self.module.__name__}:pipeline"

    @property
    def begun(self) -> list[int]:
        """Return the numbers whose second step has started, in start order."""
        found: list[int] = self.module.begun
        return found

    def wait_for(self, *numbers: int) -> None:
        eventually(lambda: set(numbers) <= set(self.begun), what=f"the start of {numbers}")

    def open(self, *numbers: int) -> None:
        for number in numbers:
            gate: threading.Event = self.module.gates[number]
            gate.set()

    def reset(self) -> None:
        """Close all gates and clear the list of started numbers."""
        self.module.gates.clear()
        self.module.begun.clear()


@contextmanager
def gated(folder: Path) -> Iterator[Gated]:
    name = f"gated_{secrets.token_hex(4)}"
    (folder / f"{name}.py").write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        build(f"{name}:pipeline", folder / "dist")
        descriptor = release(folder / "dist", release_version="1.0").path
        try:
            yield Gated(sys.modules[name], descriptor)
        finally:
            sys.modules.pop(name)
