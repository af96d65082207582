"""Prints `uv.lock` as requirements with hashes for pip, for machines without uv.

`python .ci/locked_requirements.py uv.lock [GROUP…] > FILE` needs nothing but Python 3.11 and its pip,
because it runs before anything is installed. Only what applies to this interpreter and platform is printed.
"""

import importlib
import sys
import tomllib
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Package = dict[str, Any]
EXTRA = "embedded"
"""The extra of the workspace's packages that every environment has."""


def requirements(lock: dict[str, Any], groups: Collection[str]) -> Iterator[str]:
    """One requirement with its hashes for each package that `needed` returns."""
    for package in needed(lock["package"], groups):
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        hashes = " ".join(f"--hash={file['hash']}" for file in files)
        yield f"{package['name']}=={package['version']} {hashes}"


def needed(packages: list[Package], groups: Collection[str]) -> list[Package]:
    """The locked packages that the workspace's own packages with `EXTRA` and these groups need, sorted by name.

    Packages that only another Python version or platform needs are left out, and so are the workspace's own.
    """
    by_name: dict[str, list[Package]] = {}
    for package in packages:
        by_name.setdefault(package["name"], []).append(package)
    waiting: list[Package] = []
    for own_package in filter(is_own, packages):
        waiting.append({"name": own_package["name"], "extra": [EXTRA]})
        for group in groups:
            waiting += own_package.get("dev-dependencies", {}).get(group, [])
    locked: dict[str, Package] = {}
    followed: set[tuple[str, str]] = set()
    while waiting:
        edge = waiting.pop()
        if not applies(edge.get("marker")):
            continue
        package = chosen(by_name[edge["name"]], edge.get("version"))
        if not is_own(package):
            locked[package["name"]] = package
        for extra in ["", *edge.get("extra", [])]:
            if (package["name"], extra) not in followed:
                followed.add((package["name"], extra))
                waiting += (
                    package.get("optional-dependencies", {}).get(extra, [])
                    if extra
                    else package.get("dependencies", [])
                )
    return [locked[name] for name in sorted(locked)]


def is_own(package: Package) -> bool:
    """Whether the workspace holds the package."""
    return "editable" in package["source"]


def chosen(versions: list[Package], version: str | None) -> Package:
    """The version that an edge names; it names one only where the lock has several."""
    return next(package for package in versions if version in {None, package["version"]})


def applies(marker: str | None) -> bool:
    """Whether an environment marker holds here."""
    if marker is None:
        return True
    name = "packaging.markers" if find_spec("packaging") else "pip._vendor.packaging.markers"
    markers = importlib.import_module(name)
    return bool(markers.Marker(marker).evaluate())


if __name__ == "__main__":
    print("\n".join(requirements(tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2:])))
