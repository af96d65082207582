"""Chooses the mutants of a day, so that daily test runs try all quick mutants over time."""

import datetime
import hashlib
from collections.abc import Sequence

from tests.mutants.mutant import Mutant

_SLOW_TESTS = ("tests/e2e/", "tests/parts/")


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
