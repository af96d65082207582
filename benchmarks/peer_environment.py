"""Installs the peers in an environment that is separate from the product's."""

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
    """A peer cannot be installed or run on this machine. The message contains the reason."""


def python_peers() -> Path:
    """Return the interpreter with the peers of `requirements-peers.txt`. Raises `PeerMissing`."""
    PLACE.mkdir(parents=True, exist_ok=True)
    if not _is_installed(REQUIREMENTS):
        uv = PROJECT / ".boot" / "bin" / "uv"
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, PLACE / "venv"])
        _run([uv, "pip", "install", "--quiet", "--no-deps", "--python", PYTHON, "--requirement", REQUIREMENTS])
        _mark_installed(REQUIREMENTS)
    return PYTHON


def node_peers() -> Path:
    """Return the folder with `node_modules` and the programs of the peers. Raises `PeerMissing`."""
    PLACE.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "restate_app.js"):
        shutil.copyfile(PEERS / name, PLACE / name)
    lock = PEERS / "package-lock.json"
    if not _is_installed(lock):
        shutil.copyfile(lock, PLACE / lock.name)
        # Without install scripts, because one of them reports each installation.
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        _mark_installed(lock)
    return PLACE


@dataclass(frozen=True, slots=True)
class PeerRound:
    """One measured round of a peer. `cpu` holds the CPU seconds of each process."""

    items: int
    seconds: float
    cpu: dict[str, float]

    @property
    def rate(self) -> float:
        return self.items / self.seconds


def run_program(
    command: list[str | Path], environment: dict[str, str], log: Path, trees: Mapping[str, Child]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Run a peer's program. It warms up, prints `ready`, waits for a line, and prints its account as one line of JSON.

    Return the account, and the CPU seconds of `trees` and the program after the line. The account contains the
    program's CPU seconds as `cpu`. Raises `PeerMissing` with the end of the program's log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as program,
    ):
        ready = program.stdout and program.stdout.readline()
        meter = CpuMeter(trees)
        account, _ = program.communicate("go\n" if ready else None)
        cpu = meter.read()
    if program.returncode != 0:
        raise PeerMissing(f"{Path(command[1]).name} failed:\n{log.read_text()[-2000:]}")
    account_known: dict[str, Any] = json.loads(account)
    cpu["program"] = float(account_known["cpu"])
    cpu["rest"] -= cpu["program"]
    return account_known, cpu


def _is_installed(file: Path) -> bool:
    """Return True if the packages of `file` are installed."""
    installed = PLACE / f"{file.name}.installed"
    return installed.exists() and installed.read_bytes() == file.read_bytes()


def _mark_installed(file: Path) -> None:
    shutil.copyfile(file, PLACE / f"{file.name}.installed")


def _run(command: list[str | Path]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=PLACE)
    except FileNotFoundError as error:
        raise PeerMissing(f"{command[0]} is not installed") from error
    if done.returncode != 0:
        raise PeerMissing(f"{command[0]} failed:\n{done.stderr[:2000]}")
