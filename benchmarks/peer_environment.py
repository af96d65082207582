"""Where the peers are installed: beside the product's own environment, never in it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import CpuMeter
from embedded.children import Child
from embedded.product import PROJECT

PLACE = PROJECT / ".local" / "bench"
PEERS = Path(__file__).parent / "peers"
REQUIREMENTS = Path(__file__).parent / "requirements-peers.txt"
PYTHON = PLACE / "venv" / "bin" / "python"


class PeerMissing(Exception):
    """A peer cannot be installed or run on this machine; the message says why."""


def python_peers() -> Path:
    """The interpreter that has the peers of `requirements-peers.txt`. Raises `PeerMissing`."""
    PLACE.mkdir(parents=True, exist_ok=True)
    if not _kept(REQUIREMENTS):
        uv = PROJECT / ".boot" / "bin" / "uv"
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, PLACE / "venv"])
        _run([uv, "pip", "install", "--quiet", "--no-deps", "--python", PYTHON, "--requirement", REQUIREMENTS])
        _keep(REQUIREMENTS)
    return PYTHON


def node_peers() -> Path:
    """The folder with `node_modules` and the peers' programs. Raises `PeerMissing`."""
    PLACE.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "restate_app.js"):
        shutil.copyfile(PEERS / name, PLACE / name)
    lock = PEERS / "package-lock.json"
    if not _kept(lock):
        shutil.copyfile(lock, PLACE / lock.name)
        # Without their scripts: one of them reports each installation.
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        _keep(lock)
    return PLACE


@dataclass(frozen=True, slots=True)
class PeerRound:
    """One measured round of a peer; `cpu` is seconds by process."""

    items: int
    seconds: float
    cpu: dict[str, float]

    @property
    def rate(self) -> float:
        return self.items / self.seconds


def converse(
    command: list[str | Path], environment: dict[str, str], log: Path, trees: Mapping[str, Child]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Run a peer's program: it warms up and says so, is told to go, and prints its account as one line of JSON.

    Returns the account, and the CPU seconds that `trees` and the program itself, which tells its `cpu`, used since
    it was told to go. Raises `PeerMissing` with what it complains of.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w") as complaints,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as program,
    ):
        ready = program.stdout and program.stdout.readline()
        meter = CpuMeter(trees)
        account, _ = program.communicate("go\n" if ready else None)
        cpu = meter.read()
    if program.returncode != 0:
        raise PeerMissing(f"{Path(command[1]).name} failed:\n{log.read_text()[-2000:]}")
    found: dict[str, Any] = json.loads(account)
    cpu["program"] = float(found["cpu"])
    cpu["rest"] -= cpu["program"]
    return found, cpu


def _kept(file: Path) -> bool:
    """Whether what is installed is what `file` asks for."""
    kept = PLACE / f"{file.name}.installed"
    return kept.exists() and kept.read_bytes() == file.read_bytes()


def _keep(file: Path) -> None:
    shutil.copyfile(file, PLACE / f"{file.name}.installed")


def _run(command: list[str | Path]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=PLACE)
    except FileNotFoundError as error:
        raise PeerMissing(f"there is no {command[0]}") from error
    if done.returncode != 0:
        raise PeerMissing(f"{command[0]} failed:\n{done.stderr[:2000]}")
