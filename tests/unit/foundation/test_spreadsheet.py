"""Lines of CSV files: no cell is taken for a formula."""

import csv
from io import StringIO

from foundation import spreadsheet
from tests.cases import cases


@cases("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_text_that_would_be_a_formula_begins_with_an_apostrophe(start: str) -> None:
    text = f"{start}1+1"
    assert next(csv.reader(StringIO(spreadsheet.line([text, "a"]).decode(), newline=""))) == [f"'{text}", "a"]


def test_other_cells_are_written_as_they_are() -> None:
    assert spreadsheet.line(["a=b", 'say "x"', -1.5, True, None, ""]) == b'a=b,"say ""x""",-1.5,True,,\r\n'
