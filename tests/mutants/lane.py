import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from embedded.children import Child
from embedded.product import Backing
from tests.mutants.mutant import REPOSITORY, Mutant

_IGNORED = shutil.ignore_patterns(".git", ".venv", ".boot", ".local", "__pycache__", ".*_cache", ".hypothesis")
# Hypothesis generates the same examples in each run. Only the runner enforces a time limit.
_PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--timeout=0")


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run of pytest. `code` is the exit status, or None if it took too long and was killed."""

    code: int | None
    output: str
    seconds: float


class Lane:
    """Runs tests in `copy`, one run at a time. After a run that hung, `restart` is called to release its locks."""

    def __init__(self, copy: Path, environment: Mapping[str, str], restart: Callable[[], None]) -> None:
        self.copy = copy
        self._environment = environment
        self._restart = restart

    def run(self, *arguments: str, seconds: float | None = None) -> Run:
        """Run pytest. After `seconds`, kill it and all processes that it started."""
        log = self.copy.with_suffix(".log")
        log.unlink(missing_ok=True)
        began = time.monotonic()
        command = (*_PYTEST, *arguments)
        child = Child(command, name="pytest", log=log, environment=self._environment, directory=self.copy)
        code: int | None = None
        try:
            code = child.wait(seconds)
        except TimeoutError:
            child.kill()
            self._restart()
        return Run(code, log.read_text(encoding="utf-8", errors="replace"), time.monotonic() - began)

    @contextmanager
    def changed(self, mutant: Mutant) -> Iterator[None]:
        """Apply the mutant to the copy until the block ends."""
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
    """Create `folder` with a copy of the repository, and run servers for it until the block ends."""
    copy, temporary = folder / "copy", folder / "tmp"
    shutil.copytree(REPOSITORY, copy, ignore=_IGNORED, symlinks=True)
    temporary.mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TEST_"))}
    with Backing(durable=False, outside={}) as backing:
        # Tests of lock files run the uv that `bootstrap` has fetched.
        path = f"{REPOSITORY / '.boot/bin'}{os.pathsep}{os.environ['PATH']}"
        places = {"PYTHONPATH": str(copy), "TMPDIR": str(temporary), "PATH": path}
        yield Lane(copy, inherited | backing.environment() | places, lambda: _restart(backing))


def _restart(backing: Backing) -> None:
    for server in (backing.postgres, backing.valkey):
        if server is not None:
            server.stop()
            server.start()
