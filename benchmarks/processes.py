"""Process trees on Linux: their CPU time, and pauses."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Protocol

from embedded.guard import descendants

_TICKS = os.sysconf("SC_CLK_TCK")


class Tree(Protocol):
    """A command and its guard, such as a `Child` of this process or of another one."""

    @property
    def pid(self) -> int: ...

    @property
    def guard_pid(self) -> int: ...


@contextmanager
def frozen(trees: Collection[Tree]) -> Iterator[None]:
    """Stop the commands, but not their descendants, and continue them at the end."""
    try:
        for tree in trees:
            os.kill(tree.pid, SIGSTOP)
        yield
    finally:
        for tree in trees:
            os.kill(tree.pid, SIGCONT)


def tree_seconds(tree: Tree) -> float:
    """Return the CPU seconds of a command and its descendants, including those that have ended.

    The counters of a process include the children that it has waited for, so nothing is counted twice.
    """
    return sum(_seconds(pid) for pid in descendants(tree.guard_pid))


def machine_seconds() -> float:
    """Return the CPU seconds that the machine has been busy since its start."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / _TICKS


def _seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0  # it has ended, so its parent's counters include its time
    return sum(map(int, fields[11:15])) / _TICKS


class CpuMeter:
    """Measures CPU seconds by name from its creation to `read`. `rest` is the time of all other processes."""

    def __init__(self, trees: Mapping[str, Tree]) -> None:
        self._trees = dict(trees)
        self._machine = machine_seconds()
        self._before = {name: tree_seconds(tree) for name, tree in self._trees.items()}

    def read(self) -> dict[str, float]:
        used = {name: tree_seconds(tree) - self._before[name] for name, tree in self._trees.items()}
        used["rest"] = machine_seconds() - self._machine - sum(used.values())
        return used
