"""Other versions of the product: their checkouts, and products that run from them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ledger import Ledger
from benchmarks.peer_environment import PLACE
from benchmarks.running_product import TENANT, THREE_STEPS, RunningProduct
from embedded.product import PROJECT

PROGRAM = Path(__file__).with_name("running_version.py")
STOP_SECONDS = 60.0


class VersionError(Exception):
    """A version cannot be checked out, installed or run. The message contains the reason."""


def revision(commit: str) -> str:
    """Return the first twelve digits of the hash of a commit. Raises `VersionError`."""
    return _output("git", "rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}").decode()[:12]


def checkout(commit: str) -> Path:
    """Return a checkout of `commit` with its environment, below `.local/bench`. Raises `VersionError`.

    The environment has the packages that the commit locks, from the same caches, and the same interpreter as this one.
    """
    place = PLACE / revision(commit)
    if not (place / ".venv" / ".ready").exists():
        place.mkdir(parents=True, exist_ok=True)
        _output("tar", "-x", "-C", str(place), stdin=_output("git", "archive", revision(commit)))
        if not (place / ".boot").is_symlink():
            (place / ".boot").symlink_to(PROJECT / ".boot")
    _output(str(place / "bootstrap"), PYTHON=str(Path(sys.executable).resolve()))
    return place


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a running version, with its guard."""

    pid: int
    guard_pid: int


class RunningVersion(RunningProduct):
    """The product of a checkout, with servers and a hosted pipeline. Call `wait_until_ready` before anything else."""

    def __init__(self, checkout: Path, log: Path) -> None:
        super().__init__()
        self._log = log
        self._trees: dict[str, Process] = {}
        environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TZ"}}
        with log.open("w") as errors:
            self._program = subprocess.Popen(
                [checkout / ".venv" / "bin" / "python", "-P", PROGRAM, THREE_STEPS],
                cwd=checkout,
                env={**environment, "PYTHONPATH": str(checkout)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def wait_until_ready(self) -> None:
        """Return when the product runs and has a worker. Raises `VersionError` with the log if it ends before."""
        line = self._program.stdout and self._program.stdout.readline()
        if not line:
            raise VersionError(f"The product could not start:\n{self._log.read_text(encoding='utf-8')[-2000:]}")
        description: dict[str, Any] = json.loads(line)
        self.port = description["port"]
        self.tokens[TENANT] = description["token"]
        self.ledger = Ledger(description["database_url"])
        self._trees = {name: Process(**tree) for name, tree in description["trees"].items()}

    def trees(self) -> Mapping[str, Process]:
        return self._trees

    def begin_to_stop(self) -> None:
        if self._trees:
            self.ledger.close()
        if self._program.stdin is not None:
            self._program.stdin.close()

    def wait_until_stopped(self) -> None:
        """Return when the product has stopped. After STOP_SECONDS it is killed, and its processes end with it."""
        try:
            self._program.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._program.kill()
            self._program.wait()
        if self._program.stdout is not None:
            self._program.stdout.close()


@contextmanager
def running(checkouts: Sequence[Path], logs: Path) -> Iterator[list[RunningVersion]]:
    """Run the products of several checkouts at the same time."""
    versions: list[RunningVersion] = []
    try:
        for number, place in enumerate(checkouts):
            versions.append(RunningVersion(place, logs / f"{number}.log"))
        for version in versions:
            version.wait_until_ready()
        yield versions
    finally:
        for version in versions:
            version.begin_to_stop()
        for version in versions:
            version.wait_until_stopped()


def _output(*command: str, stdin: bytes | None = None, **environment: str) -> bytes:
    """Run a command in the project and return its output. Raises `VersionError` with its messages if it fails."""
    done = subprocess.run(
        command, cwd=PROJECT, env={**os.environ, **environment}, input=stdin, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise VersionError(f"{' '.join(command)} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
