"""A mutant: one small, dangerous change of the product that the tests must notice. TOML files hold the mutants."""

import datetime
import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parent.parent
_SLOW_TESTS = ("tests/e2e/", "tests/parts/")


class MutantInvalid(Exception):
    """The entry does not fit the code. The message names the entry and what is wrong."""


@dataclass(frozen=True)
class Mutant:
    """Replaces `old`, which occurs exactly once in `file`, by `new`, which breaks `promise`.

    `tests` are the files or node ids of pytest that should notice.
    """

    name: str
    promise: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def changes_a_migration(self) -> bool:
        return "/migrations/" in self.file

    def is_called(self, name: str) -> bool:
        """True if `name` is a prefix of the mutant's name, or, if it ends with a digit, the complete name."""
        return self.name == name if name[-1:].isdigit() else self.name.startswith(name)

    def changed(self, text: str) -> str:
        if text.count(self.old) != 1:
            raise MutantInvalid(f"{self.name}: the old text occurs {text.count(self.old)} times in {self.file}.")
        return text.replace(self.old, self.new)


def all_mutants(folder: Path = FOLDER) -> list[Mutant]:
    """Return the mutants of all `*.toml` files in `folder`. Raises `MutantInvalid`."""
    mutants: list[Mutant] = []
    for file in sorted(folder.glob("*.toml")):
        for number, entry in enumerate(tomllib.loads(file.read_text(encoding="utf-8"))["mutant"], 1):
            name = f"{file.stem}-{number}"
            try:
                mutants.append(Mutant(name=name, **{**entry, "tests": tuple(entry["tests"])}))
            except (KeyError, TypeError) as error:
                raise MutantInvalid(f"{name}: {error}") from None
    return mutants


def of_the_day(mutants: Sequence[Mutant], day: datetime.date, number: int = 10) -> list[Mutant]:
    """Return `number` quick mutants. Each day has different ones until all were chosen."""
    quick = [mutant for mutant in mutants if is_quick(mutant)]
    # A stable order that mixes the subjects.
    mixed = sorted(quick, key=lambda mutant: hashlib.sha256(mutant.promise.encode()).digest())
    first = day.toordinal() * number
    return [mixed[index % len(mixed)] for index in range(first, first + min(number, len(mixed)))]


def is_quick(mutant: Mutant) -> bool:
    """True if the mutant changes no migration and none of its tests starts the product."""
    return not mutant.changes_a_migration and not any(test.startswith(_SLOW_TESTS) for test in mutant.tests)
