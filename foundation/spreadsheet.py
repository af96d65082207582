"""Lines of CSV files that people open in a spreadsheet. Pure."""

import csv
import re
from collections.abc import Iterable
from io import StringIO
from typing import Final

_FORMULA: Final = re.compile(r"""^(?=[\t\r\n])|(?:^|(?<=[;,|\t\r\n]))(?=[\s"]*[=+\-@\uff1d\uff0b\uff0d\uff20])""")
"""Where a formula could begin: in the text, or after what a spreadsheet may take for the end of a cell.

Spaces and quotes before it do not count, and the signs may be full-width ones.
"""


def line(cells: Iterable[object]) -> bytes:
    """Return one line with every cell in quotes. An apostrophe precedes what a spreadsheet could take for a formula.

    In some countries, spreadsheets split lines at semicolons, also within quotes. So an apostrophe also follows each
    separator that precedes a formula. Negative numbers are numbers, so they get none. None is an empty cell.
    """
    text = StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerow([_cell(each) for each in cells])
    return text.getvalue().encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return _FORMULA.sub("'", value) if isinstance(value, str) else str(value)
