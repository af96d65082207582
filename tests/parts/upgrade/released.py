"""The versions before and after the working tree, both runnable. Needs no Django.

The previous version is found in the history of this repository. The next one is the working tree with the migrations of
`tests/parts/upgrade/migrations`.

    python -m tests.parts.upgrade.released

writes the digests of the migrations of the previous version to `released.txt`. Run it after each release.
"""

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedded.product import BIN, PROJECT

DIGESTS = Path(__file__).with_name("released.txt")
DISTRIBUTION = "durable-coordinator"
_VERSION = re.compile(rb'^version = "(\d+\.\d+\.\d+)"$', re.MULTILINE)
_UV = PROJECT / ".boot/bin/uv"
_ANEW = [f"{app}/migrations/0001_tables.py" for app in ("alerts", "coordinator", "executions", "releases", "tenancy")]
"""The migrations that were written anew after 0.1.0. No database of an earlier version can be upgraded."""
_NEXT = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class Version:
    """A version of the product: the folder with its packages, and that with the commands of its environment."""

    name: str
    project: Path
    programs: Path


class NoHistory(Exception):
    """The clone does not contain the previous version."""


def next_version(folder: Path) -> Version:
    """Copy the working tree into `folder`, with the migrations of a next version."""
    without = shutil.ignore_patterns(".*", "tests", "docs", "benchmarks", "__pycache__")
    shutil.copytree(PROJECT, folder, ignore=without)
    for migration in _NEXT.glob("[0-9]*.py"):
        shutil.copy(migration, folder / "executions/migrations")
    return Version("the next version", folder, BIN)


def previous_version(folder: Path) -> Version:
    """Check out the previous version into `folder`. Raises `NoHistory`."""
    return _checkout(folder, *previous_commit())


def last_release(folder: Path) -> Version:
    """Check out the last release into `folder`. Raises `NoHistory`."""
    return _checkout(folder, *_release())


def previous_commit() -> tuple[str, str]:
    """Return the name and the commit of the version from which the working tree can upgrade. Raises `NoHistory`.

    It is the last release, or, if that is older, the commit that wrote the migrations anew.
    """
    anew = _git("log", "-1", "--format=%H", "--", *_ANEW).decode().strip()
    name, release = _release()
    newer = _git("rev-list", f"{release}..{anew}") if anew else b""
    return (f"{name} with new migrations", anew) if newer else (name, release)


def previous_file(path: str) -> str:
    return _git("show", f"{previous_commit()[1]}:{path}").decode()


def migrations(project: Path) -> dict[str, str]:
    """Return the SHA-256 of each migration below `project`, by its path."""
    files = sorted(project.glob("*/migrations/[0-9]*.py"))
    return {str(file.relative_to(project)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def recorded() -> dict[str, str]:
    lines = (line.split() for line in DIGESTS.read_text(encoding="utf-8").splitlines() if line[:1] != "#")
    return {path: digest for digest, path in lines}


def _release() -> tuple[str, str]:
    """Return the version of the last release, such as 0.1.0, and its commit. Raises `NoHistory`.

    It is the newest commit that set a version without a suffix in `pyproject.toml`. A clone may have no tags.
    """
    commits = _git("log", "-G^version = ", "--format=%H", "--", "pyproject.toml").decode().split()
    for commit in commits:
        if match := _VERSION.search(_git("show", f"{commit}:pyproject.toml")):
            return match[1].decode(), commit
    raise NoHistory("This clone has no commit of the last release. Fetch the history: git fetch --unshallow")


def _checkout(folder: Path, name: str, commit: str) -> Version:
    """Check out a commit, with an environment that has its dependencies."""
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit))) as archive:
        archive.extractall(folder, filter="data")
    same = _dependencies(folder) <= _dependencies(PROJECT)
    return Version(name, folder, BIN if same else _environment(folder))


def _dependencies(project: Path) -> set[tuple[str, str]]:
    """Return names and versions of the locked packages that the product needs, without those of developers."""
    locked = tomllib.loads((project / "uv.lock").read_text(encoding="utf-8"))["package"]
    packages: dict[str, dict[str, Any]] = {package["name"]: package for package in locked}
    reached, pending = set(), [DISTRIBUTION]
    while pending:
        name = pending.pop()
        if name in reached or name not in packages:
            continue
        reached.add(name)
        package = packages[name]
        extras = package.get("optional-dependencies", {}).values()
        pending += [row["name"] for group in (package.get("dependencies", []), *extras) for row in group]
    return {(name, packages[name]["version"]) for name in reached if "editable" not in packages[name]["source"]}


def _environment(project: Path) -> Path:
    """Install the locked dependencies of `project` into an environment of its own. Return its folder of commands."""
    place = project / ".venv"
    command = [_UV if _UV.exists() else "uv", "sync", "--frozen", "--no-dev", "--all-extras", "--quiet"]
    subprocess.run(
        [*command, f"--python={sys.executable}"],
        cwd=project,
        env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(place), "UV_PYTHON_DOWNLOADS": "never"},
        check=True,
    )
    return place / "bin"


def _git(*arguments: str) -> bytes:
    """Return the output of git in this repository. Raises `NoHistory` if it fails."""
    command = ["git", "-c", f"safe.directory={PROJECT}", *arguments]
    try:
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoHistory("The previous version is found with git, in a clone with its history.") from error
    return done.stdout


def main() -> None:
    name, commit = previous_commit()
    names = _git("ls-tree", "-r", "--name-only", commit).decode().splitlines()
    lines = [f"# Migrations of {name}. They never change. Written by: python -m tests.parts.upgrade.released"]
    for path in names:
        if re.fullmatch(r"\w+/migrations/\d\w+\.py", path):
            lines.append(f"{hashlib.sha256(_git('show', f'{commit}:{path}')).hexdigest()}  {path}")
    DIGESTS.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
