"""Chooses the few mutants of a day, so that a run of all tests tries each of them now and then."""

import datetime
import hashlib
from collections.abc import Sequence

from tests.mutants.mutant import Mutant

_SLOW_TESTS = ("tests/browser/", "tests/clients/", "tests/deploy/", "tests/e2e/", "tests/recovery/", "tests/web/")


def of_the_day(mutants: Sequence[Mutant], day: datetime.date, number: int = 10) -> list[Mutant]:
    """Return `number` quick mutants that can be killed: different ones each day, and all of them in turn."""
    quick = [mutant for mutant in mutants if not mutant.survives and is_quick(mutant)]
    # A fixed order that mixes the subjects.
    mixed = sorted(quick, key=lambda mutant: hashlib.sha256(mutant.promise.encode()).digest())
    first = day.toordinal() * number
    return [mixed[index % len(mixed)] for index in range(first, first + min(number, len(mixed)))]


def is_quick(mutant: Mutant) -> bool:
    """True if its tests start no product, and the tests' database is not migrated anew."""
    return "/migrations/" not in mutant.file and not any(test.startswith(_SLOW_TESTS) for test in mutant.tests)
