import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from operator import attrgetter
from pathlib import Path

from tests.mutants.mutant import REPOSITORY, Mutant, MutantInvalid

CREATED = re.compile(r"\bCREATE (?:OR REPLACE )?(?:FUNCTION|TRIGGER|VIEW) (\w+)")


def mistakes(mutants: Sequence[Mutant], repository: Path = REPOSITORY) -> list[str]:
    errors = [f"{mutant.name}: {mistake}" for mutant in mutants for mistake in _of_one(mutant, repository)]
    for what, key in {"promise": attrgetter("promise"), "change": attrgetter("file", "old", "new")}.items():
        names = defaultdict(list)
        for mutant in mutants:
            names[key(mutant)].append(mutant.name)
        errors += [f"{', '.join(group)} have one {what}." for group in names.values() if len(group) > 1]
    return errors


def _of_one(mutant: Mutant, repository: Path) -> Iterator[str]:
    if not mutant.promise.endswith(".") or ". " in mutant.promise:
        yield "the promise is not one sentence."
    if not mutant.tests:
        yield "it names no test."
    for test in mutant.tests:
        if not _exists(test, repository):
            yield f"there is no {test}."
    if mutant.file.startswith("tests/") or not (repository / mutant.file).is_file():
        yield f"there is no {mutant.file} in the product."
        return
    text = (repository / mutant.file).read_text(encoding="utf-8")
    if later := _later_migration(repository / mutant.file, text[: text.find(mutant.old)]):
        yield f"{later} replaces what it changes."
    try:
        changed = mutant.changed(text)
        if _meaning(mutant.file, changed) == _meaning(mutant.file, text):
            yield "the new text means the same as the old one."
    except MutantInvalid as error:
        yield str(error).removeprefix(f"{mutant.name}: ")
    except (SyntaxError, tomllib.TOMLDecodeError) as error:
        yield f"the changed file is not well formed: {error}."


def _later_migration(file: Path, before: str) -> str:
    """Return the later migration that creates again what `file` creates at the end of the text `before`, or ""."""
    created = CREATED.findall(before)
    if file.parent.name != "migrations" or not created:
        return ""
    later = (other for other in sorted(file.parent.glob("[0-9]*.py"), reverse=True) if other.name > file.name)
    return next((other.name for other in later if created[-1] in CREATED.findall(other.read_text("utf-8"))), "")


@cache
def _meaning(file: str, text: str) -> object:
    """Return a value that comments and layout do not affect."""
    if file.endswith(".py"):
        return ast.dump(ast.parse(text))
    return tomllib.loads(text) if file.endswith(".toml") else text


def _exists(test: str, repository: Path) -> bool:
    return is_function(test, repository) if "::" in test else (repository / test).exists()


def is_function(test: str, repository: Path = REPOSITORY) -> bool:
    """True if `test` is a node id whose class and function the file defines."""
    name, *parts = test.partition("[")[0].split("::")
    path = repository / name
    return path.is_file() and tuple(parts) in _definitions(path)


@cache
def _definitions(path: Path) -> frozenset[tuple[str, ...]]:
    """Return the functions and methods of a file as parts of node ids: (function,) or (class, method)."""
    definitions = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        methods = node.body if isinstance(node, ast.ClassDef) else []
        for child in (node, *methods):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                definitions.add((child.name,) if child is node else (getattr(node, "name", ""), child.name))
    return frozenset(definitions)
