import datetime
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.campaign import BROKEN, HUNG, KILLED, SURVIVED, Verdict, good_enough, report, verdict, verdicts
from tests.mutants.lane import Lane
from tests.mutants.mistakes import mistakes
from tests.mutants.mutant import Mutant, all_mutants, of_the_day

PRODUCT = """\
LIMIT = 3


def allowed(number):
    # No number may be more.
    return number <= LIMIT
"""
TESTS = """\
import time
from product import LIMIT, allowed


def test_the_limit():
    assert allowed(3)
    assert not allowed(4)


def test_nothing():
    pass


def test_countdown():
    remaining = 3
    while remaining:
        remaining -= LIMIT
        time.sleep(0.01)
"""
MUTANT = Mutant("small-1", "Three are allowed.", "product.py", "<=", "<", ("test_product.py::test_the_limit",))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "product.py").write_text(PRODUCT)
    (folder / "test_product.py").write_text(TESTS)
    (folder / "pytest.toml").write_text('[pytest]\naddopts = ["-p", "no:schemathesis", "-p", "no:django"]\n')
    return folder


@pytest.fixture
def lane(repository: Path) -> Lane:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DJANGO_"))}
    return Lane(repository, inherited, restart=lambda: (repository / "restarted").touch())


def test_every_mutant_fits_the_code_and_the_tests() -> None:
    assert mistakes(all_mutants()) == []


@pytest.mark.parametrize(
    ("wrong", "mistake"),
    [
        ({"old": "="}, "occurs 2 times"),
        ({"new": "<="}, "means the same"),
        ({"new": "< <"}, "not well formed"),
        ({"tests": ()}, "names no test"),
        ({"promise": "One is here. Two is there."}, "not one sentence"),
        ({"tests": ("test_product.py::test_absent",)}, "no test_product.py::test_absent"),
    ],
)
def test_an_entry_that_does_not_fit_is_found(repository: Path, wrong: dict[str, str], mistake: str) -> None:
    (error,) = mistakes([replace(MUTANT, **wrong)], repository)  # type: ignore[arg-type]
    assert mistake in error


def test_a_change_that_a_later_migration_replaces_is_found(repository: Path) -> None:
    (repository / "migrations").mkdir()
    for name, created in {"0001_a": "FUNCTION guard()", "0002_b": "TRIGGER other", "0003_c": "VIEW guard"}.items():
        (repository / f"migrations/{name}.py").write_text(f'SQL = "CREATE OR REPLACE {created} AS 1 <= 2"\n')
    first, other, last = (replace(MUTANT, file=f"migrations/{name}.py") for name in ("0001_a", "0002_b", "0003_c"))
    assert mistakes([first], repository) == ["small-1: 0003_c.py replaces what it changes."]
    assert mistakes([other], repository) == mistakes([last], repository) == []


def test_two_entries_with_one_promise_or_one_change_are_found(repository: Path) -> None:
    assert len(mistakes([MUTANT, replace(MUTANT, name="small-2")], repository)) == 2


def test_each_day_has_different_quick_mutants_until_all_were_chosen() -> None:
    mutants = [replace(MUTANT, name=f"small-{number}", promise=f"Promise {number}.") for number in range(37)]
    mutants.append(replace(MUTANT, name="slow-1", tests=("tests/e2e/test_product.py",)))
    days = [of_the_day(mutants, datetime.date(2026, 1, 1 + number)) for number in range(4)]
    assert {len(set(day)) for day in days} == {10}
    assert set().union(*days) == set(mutants[:37])


def test_a_mutant_is_killed_survives_hangs_or_is_broken(repository: Path, lane: Lane) -> None:
    mutants = {
        KILLED: MUTANT,
        SURVIVED: replace(MUTANT, name="small-2", tests=("test_product.py::test_nothing",)),
        BROKEN: replace(MUTANT, name="small-4", old="def allowed", new="def forbidden"),
    }
    lines: list[str] = []
    judged = verdicts(list(mutants.values()), [lane], lines.append)
    assert [judgement.result for judgement in judged] == list(mutants)
    assert judged[0].note == "FAILED test_product.py::test_the_limit"
    assert "cannot import name" in judged[2].note
    assert lines[0].split()[:2] == ["1/3", "killed"]
    assert not (repository / "restarted").exists()

    hanging = replace(MUTANT, name="small-3", old="= 3", new="= -1", tests=("test_product.py::test_countdown",))
    assert verdict(hanging, lane, 2.0).result == HUNG
    assert (repository / "restarted").exists()
    assert (repository / "product.py").read_text() == PRODUCT


def test_the_report_names_what_survived_and_enough_are_killed_if_no_entry_is_broken() -> None:
    other = replace(MUTANT, name="large-1", promise="Large ones are rejected.")
    killed, survived = Verdict(MUTANT, KILLED, 1.0, "FAILED a"), Verdict(other, SURVIVED, 1.0, "")
    text = report([killed, survived])
    assert "large-1 in product.py survived: Large ones are rejected." in text
    assert text.endswith("1 of 2 mutants killed: 50.0%\n")
    few, many = [killed] * 32 + [survived], [killed] * 33 + [survived]
    assert [good_enough(run) for run in (few, many, [*many, Verdict(other, BROKEN, 1.0, "")])] == [False, True, False]
