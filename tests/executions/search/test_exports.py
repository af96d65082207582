"""Exports have the executions that match, with the chosen columns, and no cell that a spreadsheet would calculate."""

import csv
from io import StringIO

import pytest

from executions.models import Execution
from executions.search import columns, exports
from executions.search.conditions import Search
from executions.search.matching import matching
from tests.cases import cases
from tests.raw_sql import unguarded

pytestmark = pytest.mark.django_db
Rows = dict[str, Execution]
ALL = tuple(columns.COLUMNS)


@cases("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(rows: Rows, start: str) -> None:
    formula = f"{start}HYPERLINK(1)"
    with unguarded(Execution):
        Execution.objects.filter(pk=rows["ok"].pk).update(
            execution_key=formula, pipeline_id=formula, submitted_by=formula, tags=[formula]
        )
    exported = b"".join(exports.lines(matching([rows["ok"].tenant], Search()), ALL, "csv")).decode()
    names, *lines = csv.reader(StringIO(exported))
    assert tuple(names) == ALL
    cells = [cell for line in lines for cell in line]
    assert cells.count(f"'{formula}") == 4
    assert not [cell for cell in cells if cell.startswith(start)]
