from pathlib import Path

import pytest

from benchmarks.costs.ledger import Difference, Ledger

KIND = "submission"
CALLS = "submission, calls in Python 3.11"


@pytest.mark.parametrize(
    ("table", "name", "entry", "counted", "is_noticed"),
    [
        (KIND, "statements", 4, 5, True),
        (KIND, "buffers", 30, 35, False),
        (KIND, "buffers", 30, 36, True),
        (CALLS, "django", 100, 103, False),
        (CALLS, "django", 100, 104, True),
        (CALLS, "another", 0, 4, True),
    ],
)
def test_a_figure_is_noticed_beyond_its_tolerance(
    table: str, name: str, entry: int, counted: int, is_noticed: bool
) -> None:
    ledger = Ledger({table: {name: entry} if entry else {}})
    expected = [Difference(table, name, entry, counted)] if is_noticed else []
    assert ledger.differences({table: {name: counted} if counted else {}}) == expected


def test_the_ledger_keeps_reasons_and_drops_that_of_a_lowered_entry(tmp_path: Path) -> None:
    file = tmp_path / "costs.toml"
    ledger = Ledger({KIND: {"statements": 4, "buffers": 30}})
    ledger.change(Difference(KIND, "statements", 4, 5), "an event more")
    ledger.change(Difference(KIND, "buffers", 30, 0))
    ledger.write(file)
    kept = Ledger.read(file)
    assert kept.tables == {KIND: {"statements": 5}}
    assert kept.reasons[KIND, "statements"].endswith(", from 4: an event more")
    kept.change(Difference(KIND, "statements", 5, 4))
    kept.write(file)
    assert "#" not in file.read_text().partition("[")[2]
