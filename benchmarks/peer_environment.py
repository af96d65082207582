"""Where the peers are installed: beside the product's own environment, never in it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from coordinator.local.product import PROJECT

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


def told(command: list[str | Path], environment: dict[str, str]) -> dict[str, Any]:
    """Run a peer's program and return the JSON that it prints. Raises `PeerMissing` with what it complains of."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise PeerMissing(f"{Path(command[1]).name} failed:\n{done.stdout}{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


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
