"""The mutants fit the code, and the runner distinguishes killed, survived, hung and broken."""

import datetime
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.campaign import BROKEN, HUNG, KILLED, SURVIVED, BaselineFailed, Verdict, baseline, verdict, verdicts
from tests.mutants.choice import of_the_day
from tests.mutants.lane import Lane
from tests.mutants.mistakes import mistakes
from tests.mutants.mutant import Mutant, MutantInvalid, all_mutants
from tests.mutants.report import good_enough, report

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


def test_failing():
    assert LIMIT == 4
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
def lane(repository: Path) -> Iterator[Lane]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DJANGO_"))}
    made = Lane(repository, inherited, restart=lambda: (repository / "restarted").touch())
    yield made
    made.close()


def test_every_mutant_fits_the_code_and_the_tests() -> None:
    assert mistakes(all_mutants()) == []


@pytest.mark.parametrize(
    ("wrong", "mistake"),
    [
        ({"old": "="}, "occurs 2 times"),
        ({"old": "nowhere"}, "occurs 0 times"),
        ({"new": "<="}, "means the same"),
        ({"old": "more.", "new": "less."}, "means the same"),
        ({"new": "< <"}, "not well formed"),
        ({"file": "absent.py"}, "no absent.py in the product"),
        ({"file": "tests/test_product.py"}, "in the product"),
        ({"tests": ()}, "names no test"),
        ({"tests": ("test_absent.py",)}, "no test_absent.py"),
        ({"tests": ("test_product.py::test_absent",)}, "no test_product.py::test_absent"),
        ({"tests": ("test_product.py::allowed[3]",)}, "no test_product.py::allowed"),
        ({"promise": "No end"}, "not one sentence"),
        ({"promise": "One is here. Two is there."}, "not one sentence"),
        ({"promise": ""}, "not one sentence"),
    ],
)
def test_an_entry_that_does_not_fit_is_found(repository: Path, wrong: dict[str, str], mistake: str) -> None:
    (found,) = mistakes([replace(MUTANT, **wrong)], repository)  # type: ignore[arg-type]
    assert mistake in found


def test_malformed_toml_is_found(repository: Path) -> None:
    (repository / "data.toml").write_text("limit = 3\n")
    (found,) = mistakes([replace(MUTANT, file="data.toml", old="3", new="three")], repository)
    assert "not well formed" in found


def test_two_mutants_with_one_promise_or_one_change_are_found(repository: Path) -> None:
    duplicate = replace(MUTANT, name="small-2", old="number <=", new="number <")
    found = mistakes([MUTANT, duplicate], repository)
    assert found == ["2 mutants break one promise: Three are allowed.", "small-2: small-1 makes the same change."]


@pytest.mark.parametrize("entry", ['promise = "A."', 'promise = "A."\nfile = "a.py"\ntests = []\nnever = 1'])
def test_an_entry_with_missing_or_unknown_fields_is_rejected(tmp_path: Path, entry: str) -> None:
    (tmp_path / "small.toml").write_text(f"[[mutant]]\n{entry}\n")
    with pytest.raises(MutantInvalid, match="small-1"):
        all_mutants(tmp_path)


def test_a_number_chooses_one_mutant_and_a_subject_chooses_all_of_its_mutants() -> None:
    mutants = [replace(MUTANT, name=name) for name in ("small-1", "small-12", "smaller-1", "large-1")]
    chosen = {name: [each.name for each in mutants if each.is_called(name)] for name in ("small-1", "small-", "small")}
    assert chosen == {
        "small-1": ["small-1"],
        "small-": ["small-1", "small-12"],
        "small": ["small-1", "small-12", "smaller-1"],
    }


def test_a_mutant_is_killed_survives_hangs_or_is_broken(repository: Path, lane: Lane) -> None:
    mutants = {
        KILLED: MUTANT,
        SURVIVED: replace(MUTANT, name="small-2", tests=("test_product.py::test_nothing",)),
        BROKEN: replace(MUTANT, name="small-4", old="def allowed", new="def forbidden"),
    }
    lines: list[str] = []
    found = verdicts(list(mutants.values()), [lane], {}, lines.append)
    assert [each.result for each in found] == list(mutants)
    assert found[0].note == "FAILED test_product.py::test_the_limit"
    assert "cannot import name" in found[2].note
    assert lines[0].split()[:2] == ["1/3", "killed"]
    assert not (repository / "restarted").exists()

    hanging = replace(MUTANT, name="small-3", old="= 3", new="= -1", tests=("test_product.py::test_countdown",))
    assert verdict(hanging, lane, 2.0).result == HUNG
    assert (repository / "restarted").exists()
    assert (repository / "product.py").read_text() == PRODUCT


def test_the_baseline_measures_each_test_and_stops_at_one_that_fails(lane: Lane) -> None:
    named = ("test_product.py::test_countdown", "test_product.py::test_the_limit")
    seconds = baseline([replace(MUTANT, tests=named), MUTANT], [lane])
    assert set(seconds) == set(named)
    assert seconds[named[0]] >= 0.01
    with pytest.raises(BaselineFailed, match="test_failing"):
        baseline([MUTANT, replace(MUTANT, tests=("test_product.py",))], [lane])


def test_each_day_has_different_quick_mutants_until_all_were_chosen() -> None:
    mutants = [replace(MUTANT, name=f"small-{number}", promise=f"Promise {number}.") for number in range(37)]
    first = datetime.date(2026, 1, 1)
    days = [of_the_day(mutants, first + datetime.timedelta(number)) for number in range(4)]
    assert {len(set(day)) for day in days} == {10}
    assert set().union(*days) == set(mutants)
    assert days[0] == of_the_day(mutants, first)
    assert of_the_day(mutants[:3], first) != []


@pytest.mark.parametrize(
    "slow",
    [
        {"tests": ("tests/e2e/test_restart.py",)},
        {"file": "executions/migrations/0001_initial.py"},
        {"survives": "The change means the same."},
    ],
)
def test_slow_and_explained_mutants_are_not_tried_each_day(slow: dict[str, str]) -> None:
    mutants = [MUTANT, replace(MUTANT, name="small-2", **slow)]  # type: ignore[arg-type]
    assert of_the_day(mutants, datetime.date(2026, 1, 1)) == [MUTANT]


@pytest.mark.parametrize(
    ("results", "enough"),
    [
        ([KILLED] * 19 + [SURVIVED], True),
        ([KILLED] * 18 + [SURVIVED, HUNG], False),
        ([KILLED] * 99 + [BROKEN], False),
        ([], True),
    ],
)
def test_ninety_five_percent_are_enough_if_no_entry_is_broken(results: Sequence[str], enough: bool) -> None:
    assert good_enough([Verdict(MUTANT, result, 1.0, "") for result in results]) is enough


def test_a_mutant_that_is_said_to_survive_must_survive() -> None:
    explained = replace(MUTANT, name="small-2", survives="No test can tell.")
    killed = [Verdict(MUTANT, KILLED, 1.0, "FAILED a")] * 30
    survived = [*killed, Verdict(explained, SURVIVED, 1.0, "")]
    assert good_enough(survived)
    assert "Explanation: No test can tell." in report(survived)
    refuted = [*killed, Verdict(explained, KILLED, 1.0, "FAILED a")]
    assert not good_enough(refuted)
    assert "remove `survives`" in report(refuted)


def test_the_report_counts_by_subject_and_names_what_survived() -> None:
    other = replace(MUTANT, name="large-1", promise="Large ones are rejected.")
    text = report([Verdict(MUTANT, KILLED, 1.0, "FAILED a"), Verdict(other, SURVIVED, 1.0, "")])
    assert "small         1       1         0     0       0\n" in text
    assert "large         1       0         1     0       0\n" in text
    assert "large-1 in product.py survived: Large ones are rejected." in text
    assert text.endswith("1 of 2 mutants killed: 50.0%\n")
