"""The CPU time of process trees on Linux."""

import os
from collections.abc import Mapping
from pathlib import Path

from embedded.children import Child
from embedded.guard import descendants

_TICKS = os.sysconf("SC_CLK_TCK")


def tree_seconds(child: Child) -> float:
    """Return the CPU seconds of a child and its descendants, including those that have ended.

    The counters of a process include the children that it has waited for, so nothing is counted twice.
    """
    return sum(_seconds(pid) for pid in descendants(child.guard_pid))


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

    def __init__(self, trees: Mapping[str, Child]) -> None:
        self._trees = dict(trees)
        self._machine = machine_seconds()
        self._before = {name: tree_seconds(child) for name, child in self._trees.items()}

    def read(self) -> dict[str, float]:
        used = {name: tree_seconds(child) - self._before[name] for name, child in self._trees.items()}
        used["rest"] = machine_seconds() - self._machine - sum(used.values())
        return used
