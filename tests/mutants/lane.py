"""A place to run tests in: a scratch copy of the repository with servers of its own."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coordinator.local.backing import Backing
from coordinator.local.children import Child
from tests.mutants.mutant import REPOSITORY, Mutant

_IGNORED = shutil.ignore_patterns(".git", ".venv", ".boot", ".local", "__pycache__", ".*_cache", ".hypothesis")
# Each run finds the same examples, and none that an earlier mutant left. The runner alone decides what hangs.
_PYTEST = ("-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--timeout=0")


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run of pytest. `code` is its exit status, or None when it took too long and was killed."""

    code: int | None
    output: str
    seconds: float


class Lane:
    """Runs tests in `copy`, one run at a time. `restart` is called after a run that hung, to free what it held."""

    def __init__(self, copy: Path, environment: Mapping[str, str], restart: Callable[[], None]) -> None:
        self.copy = copy
        self._environment = environment
        self._restart = restart

    def run(self, *arguments: str, seconds: float | None = None) -> Run:
        """Run pytest. After `seconds`, kill it with all that it started."""
        log = self.copy.with_suffix(".log")
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", *_PYTEST, *arguments]
        began = time.monotonic()
        child = Child(command, name="pytest", log=log, environment=self._environment, directory=self.copy)
        code: int | None
        try:
            code = child.wait(seconds)
        except TimeoutError:
            child.kill()
            self._restart()
            code = None
        return Run(code, log.read_text(encoding="utf-8", errors="replace"), time.monotonic() - began)

    @contextmanager
    def changed(self, mutant: Mutant) -> Iterator[None]:
        """Within the block, the copy is the mutant."""
        file = self.copy / mutant.file
        text, stat = file.read_text(encoding="utf-8"), file.stat()
        file.write_text(mutant.changed(text), encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(text, encoding="utf-8")
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@contextmanager
def lane(folder: Path) -> Iterator[Lane]:
    """Make the new `folder`, with a copy of the repository, and start servers, which run until the block ends."""
    copy, temporary = folder / "copy", folder / "tmp"
    shutil.copytree(REPOSITORY, copy, ignore=_IGNORED, symlinks=True)
    temporary.mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TEST_"))}
    with Backing(durable=False, outside={}) as backing:
        places = {"PYTHONPATH": str(copy), "TMPDIR": str(temporary)}
        yield Lane(copy, inherited | backing.environment() | places, lambda: _restart(backing))


def _restart(backing: Backing) -> None:
    for server in (backing.postgres, backing.valkey):
        if server is not None:
            server.stop()
            server.start()
