import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.programs import output_of

REPOSITORY = Path(__file__).resolve().parents[3]


def build_wheel(package: str, out: Path) -> Path:
    """Build the source distribution of `package`, then its wheel from that, into `out`; return the wheel."""
    _uv("build", "--package", package, "--out-dir", out)
    [wheel] = out.glob("*.whl")
    return wheel


def copy_checkout(folder: Path) -> None:
    for name in filter(None, output_of(["git", "ls-files", "-z"], REPOSITORY).split("\0")):
        if (REPOSITORY / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name, follow_symlinks=False)


def empty_environment(folder: Path) -> Path:
    _uv("venv", "--python", sys.executable, folder)
    return folder / "bin/python"


def install(python: Path, wheels: Sequence[Path], *requirements: str) -> None:
    """Install wheels and all that they require, in the versions of `uv.lock`, which uv has in its cache."""
    locked = python.parents[1] / "locked.txt"
    _uv("export", "--all-packages", "--all-extras", "--no-emit-workspace", "--no-hashes", "--output-file", locked)
    _uv("pip", "install", "--python", python, "--constraint", locked, *wheels, *requirements)


def run(command: Sequence[str | Path], directory: Path, **more: str) -> str:
    """Run a command outside of the checkout and return its output. Fails the test if the command fails.

    `more` are added to its environment.
    """
    return output_of(command, directory, {**environment(), **more}, seconds=120)


def environment() -> dict[str, str]:
    """The environment without what would make the packages of the checkout importable."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


def uv() -> Path:
    """Return the program, which ./bootstrap fetches."""
    local = REPOSITORY / ".boot/bin/uv"
    program = str(local) if local.exists() else shutil.which("uv")
    assert program is not None, "there is no uv; ./bootstrap fetches it"
    return Path(program)


def _uv(*arguments: str | Path) -> None:
    run([uv(), "--quiet", *arguments], REPOSITORY, UV_FROZEN="1", UV_PYTHON_DOWNLOADS="never")
