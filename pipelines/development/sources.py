"""Notices that the author has saved a file.

The times and sizes of files are polled. That needs no dependency, and works on network file systems and in containers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_MOST_FILES: Final = 5_000
_SETTLED_SECONDS: Final = 0.05
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


class Sources:
    """Compares the times and sizes of files: those of the newest build, and the modules in and below a folder.

    So a module is noticed although its build has failed, and a new one before anything imports it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files: set[str] = set()
        """Files to watch in addition."""
        self._seen = self._present()

    @property
    def count(self) -> int:
        return len(self._seen)

    def add(self, files: Iterable[str]) -> None:
        self.files.update(files)
        self._seen |= {file: _stamp(file) for file in self.files - self._seen.keys()}

    def saved_at(self) -> float | None:
        """Return when the newest change since the last call was saved, as `time.time` has it; None if nothing changed.

        An editor may write several files. Waits until they have stopped changing.
        """
        present = self._present()
        if present == self._seen:
            return None
        while True:
            time.sleep(_SETTLED_SECONDS)
            later = self._present()
            if later == present:
                break
            present = later
        changed = [stamp[0] / 1e9 for file, stamp in present.items() if stamp != self._seen.get(file)]
        self._seen = present
        now = time.time()
        return min(now, max(changed, default=now))

    def _present(self) -> dict[str, tuple[int, int]]:
        return {file: _stamp(file) for file in {*self.files, *_modules(str(self._folder))}}


def _stamp(file: str) -> tuple[int, int]:
    try:
        status = os.stat(file)  # noqa: PTH116 - of each file, several times a second
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _modules(folder: str) -> Iterator[str]:
    """Yield the files of modules, at most _MOST_FILES, without hidden folders and virtual environments."""
    count, waiting = 0, [folder]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        if any(entry.name == "pyvenv.cfg" for entry in entries):
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _SKIPPED:
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.name.endswith(".py"):
                yield entry.path
                count += 1
                if count == _MOST_FILES:
                    return
