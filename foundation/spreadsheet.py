"""Lines of CSV files that people open in a spreadsheet. Pure."""

import csv
from collections.abc import Iterable
from io import StringIO
from typing import Final

_FORMULA: Final = tuple("=+-@\t\r\n")


def line(cells: Iterable[object]) -> bytes:
    """Return one line. A cell that a spreadsheet would take for a formula begins with an apostrophe.

    Negative numbers are numbers, so they get none. None is an empty cell.
    """
    text = StringIO()
    csv.writer(text).writerow([_cell(each) for each in cells])
    return text.getvalue().encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
