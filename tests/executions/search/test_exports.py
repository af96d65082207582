"""Exports have the executions that match, with the chosen columns, and no cell that a spreadsheet would calculate."""

import csv
import json
from io import StringIO

import pytest

from executions.models import Execution
from executions.search import columns, exports
from executions.search.conditions import Search
from executions.search.matching import matching
from tests.cases import cases
from tests.executions.search.conftest import KEYS
from tests.raw_sql import unguarded

pytestmark = pytest.mark.django_db
Rows = dict[str, Execution]
ALL = tuple(columns.COLUMNS)


def exported(rows: Rows, names: tuple[str, ...], form: str) -> str:
    found = matching([rows["ok"].tenant], Search())
    return b"".join(exports.lines(found, names, form)).decode()


def test_json_lines_have_the_chosen_columns_of_the_newest_executions(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = {line["key"]: line for line in map(json.loads, exported(rows, ALL, "ndjson").splitlines())}
    assert tuple(lines) == KEYS[::-1]
    assert all(tuple(line) == ALL for line in lines.values())
    assert {key: line["step"] for key, line in lines.items()} == {**dict.fromkeys(KEYS, 1), "ok": None, "failed": 2}
    ok = lines["ok"]
    assert (ok["id"], ok["status"], ok["tags"]) == (str(rows["ok"].pk), "SUCCEEDED", ["k=v", "=x"])
    assert (ok["duration"], lines["queued"]["duration"], lines["dlq"]["error"]) == (36_000, None, "TIMEOUT")
    monkeypatch.setattr(exports, "MOST", 1)
    assert exported(rows, ("key",), "ndjson") == '{"key":"other"}\n'


@cases("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(rows: Rows, start: str) -> None:
    formula = f"{start}HYPERLINK(1)"
    with unguarded(Execution):
        Execution.objects.filter(pk=rows["ok"].pk).update(
            execution_key=formula, pipeline_id=formula, submitted_by=formula, tags=[formula]
        )
    names, *lines = csv.reader(StringIO(exported(rows, ALL, "csv")))
    assert tuple(names) == ALL
    cells = [cell for line in lines for cell in line]
    assert cells.count(f"'{formula}") == 4
    assert not [cell for cell in cells if cell.startswith(start)]
