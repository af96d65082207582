"""The pages for developers name packages, layers, functions and files that exist."""

import re
import tomllib
from pkgutil import resolve_name

from tests.docs.pages import ROOT, text_of

ARCHITECTURE, UPSTREAM = text_of("docs/architecture.md"), text_of("docs/upstream.md")
TEXT = "\n".join((ARCHITECTURE, UPSTREAM, text_of("CONTRIBUTING.md")))
PROJECT = tomllib.loads(text_of("pyproject.toml"))
TOP = PROJECT["tool"]["importlinter"]["root_packages"]
DOTTED = re.compile(rf"`((?:{'|'.join(TOP)})(?:\.\w+)+)`")
FILE = re.compile(r"`((?:\w+/)+[\w.]*|\w+\.(?:py|toml))`")
TASKS = {"releases.verify"}
"""Names of Celery tasks, which look like dotted names."""


def test_every_dotted_name_exists() -> None:
    names = set(DOTTED.findall(TEXT)) - TASKS
    assert names
    assert [name for name in sorted(names) if not exists(name)] == []


def exists(name: str) -> bool:
    module, attribute = name, ""
    while not is_module(module):
        module, _, last = module.rpartition(".")
        attribute = f"{last}.{attribute}" if attribute else last
        if not module:
            return False
    try:
        if attribute:
            resolve_name(f"{module}:{attribute}")
    except AttributeError:
        return False
    return True


def is_module(name: str) -> bool:
    """Return whether `name` is a module of the product, without importing it."""
    path = ROOT.joinpath(*name.split("."))
    return (path / "__init__.py").exists() or path.with_suffix(".py").exists()


def test_every_file_and_folder_exists() -> None:
    names = set(FILE.findall(TEXT))
    assert names
    assert [name for name in sorted(names) if not (ROOT / name).exists()] == []


def test_every_package_is_described() -> None:
    described = set(re.findall(r"^\| `([\w/]+/)` \|", ARCHITECTURE, re.MULTILINE))
    files = {folder for top in TOP for folder in (ROOT / top).rglob("__init__.py")}
    packages = {f"{file.parent.relative_to(ROOT)}/" for file in files}
    assert described == {name for name in packages if not re.search("/(migrations|management)/", name)}
