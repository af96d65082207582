"""The pages for developers name packages, layers, functions and files that exist."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in ("docs/architecture.md", "docs/upstream.md", "CONTRIBUTING.md")
}
ARCHITECTURE, UPSTREAM = PAGES["docs/architecture.md"], PAGES["docs/upstream.md"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOP = PROJECT["tool"]["importlinter"]["root_packages"]
DOTTED = re.compile(rf"`((?:{'|'.join(TOP)})(?:\.\w+)+)`")
FILE = re.compile(r"`((?:\w+/)+[\w.]*|\w+\.(?:py|toml))`")
TASKS = {"releases.verify"}
"""Names of Celery tasks, which look like dotted names."""


def names() -> list[str]:
    return sorted({name for page in PAGES.values() for name in DOTTED.findall(page)} - TASKS)


@pytest.mark.parametrize("name", names())
def test_a_dotted_name_exists(name: str) -> None:
    module, attribute = name, ""
    while not is_module(module):
        module, _, last = module.rpartition(".")
        attribute = f"{last}.{attribute}" if attribute else last
        assert module, name
    if attribute:
        resolve_name(f"{module}:{attribute}")


def is_module(name: str) -> bool:
    """Return whether `name` is a module of the product, without importing it."""
    path = ROOT.joinpath(*name.split("."))
    return (path / "__init__.py").exists() or path.with_suffix(".py").exists()


@pytest.mark.parametrize("name", sorted({name for page in PAGES.values() for name in FILE.findall(page)}))
def test_a_file_or_folder_exists(name: str) -> None:
    assert (ROOT / name).exists()


def test_every_upstream_test_belongs_to_a_described_fault() -> None:
    named = set(re.findall(r"`tests/unit/upstream/(\w+\.py::\w+)`", UPSTREAM))
    found = {
        f"{file.name}::{test}"
        for file in (ROOT / "tests" / "unit" / "upstream").glob("test_*.py")
        for test in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named <= found
    assert {name for name in found - named if not name.startswith("test_private_names.py::")} == set()


def test_every_package_is_described() -> None:
    described = set(re.findall(r"^\| `([\w/]+/)` \|", ARCHITECTURE, re.MULTILINE))
    files = {folder for top in TOP for folder in (ROOT / top).rglob("__init__.py")}
    packages = {f"{file.parent.relative_to(ROOT)}/" for file in files}
    assert described == {name for name in packages if not re.search("/(migrations|management)/", name)}


def test_the_picture_shows_the_layers_that_the_linter_enforces() -> None:
    [layers] = [each for each in PROJECT["tool"]["importlinter"]["contracts"] if each["name"] == "Floors"]
    floors = [" & ".join(re.split(r" *[|:] *", floor)) for floor in layers["layers"]]
    picture = "\n".join(f"  {upper} --> {lower}" for upper, lower in pairwise(floors))
    assert f"flowchart TD\n{picture}\n```" in ARCHITECTURE
