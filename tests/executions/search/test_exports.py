"""Exports have the executions that match, with the chosen columns, and no cell that a spreadsheet would calculate."""

import csv
import json
from io import StringIO

import pytest

from executions.models import Execution
from executions.search import exports
from executions.search.columns import COLUMNS
from executions.search.conditions import Search
from executions.search.matching import matching
from tests.cases import cases
from tests.executions.search import mixed
from tests.raw_sql import unguarded

pytestmark = pytest.mark.django_db
ALL = tuple(COLUMNS)


@pytest.fixture(scope="module")
def rows(module_world: None) -> list[Execution]:
    return mixed.make(24)


def exported(rows: list[Execution], columns: tuple[str, ...], form: str) -> str:
    found = matching([rows[0].tenant], Search(since=mixed.START, until=mixed.START.replace(month=2)))
    return b"".join(exports.lines(found, columns, form)).decode()


def test_json_lines_have_the_chosen_columns_of_each_execution(rows: list[Execution]) -> None:
    lines = [json.loads(line) for line in exported(rows, ALL, "ndjson").splitlines()]
    assert {line["id"] for line in lines} == {str(row.pk) for row in rows}
    assert all(tuple(line) == ALL for line in lines)
    by_id = {str(row.pk): row for row in rows}
    for line in lines:
        row = by_id[line["id"]]
        assert (line["status"], line["key"], line["error"]) == (row.shown_status, row.execution_key, row.error_code)
        assert (line["tags"], line["tenant"], line["smoke"]) == (row.tags or [], "owner", False)
        assert line["duration"] == (3600 * row.current_step_index if row.finished_at else None)


@cases("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(rows: list[Execution], start: str) -> None:
    formula = f"{start}HYPERLINK(1)"
    with unguarded(Execution):
        Execution.objects.filter(pk=rows[0].pk).update(
            execution_key=formula, pipeline_id=formula, submitted_by=formula, tags=[formula]
        )
    cells = [cell for line in csv.reader(StringIO(exported(rows, ALL, "csv"))) for cell in line]
    assert cells.count(f"'{formula}") == 4
    assert not [cell for cell in cells if cell.startswith(start)]


def test_an_export_has_at_most_the_newest_rows(rows: list[Execution], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "MOST", 3)
    found = matching([rows[0].tenant], Search(until=mixed.START.replace(month=2)))
    ids = [json.loads(line)["id"] for line in exports.lines(found, ("id",), "ndjson")]
    assert ids == [str(row.pk) for row in found[:3]]
