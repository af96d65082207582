"""Reads the rows of a payment file."""

import csv
from collections.abc import Iterator
from io import StringIO

from examples.payments.records import COLUMNS, Payment, PaymentFile
from pipelines import NonRetryable

_SURPLUS = "surplus"


def payments_in(file: PaymentFile) -> Iterator[Payment]:
    """Yield the rows as they are written, without checking them.

    Raises ``NonRetryable`` for a file that is not CSV or lacks a column, because a retry would read the same file.
    """
    text = StringIO(file.content.removeprefix("\ufeff"), newline="")
    reader = csv.DictReader(text, restkey=_SURPLUS, restval="", strict=True)
    try:
        if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
            raise NonRetryable(f"{file.name} has no column {', '.join(missing)}")
        for row in reader:
            yield Payment(
                line=reader.line_num,
                reference=row["reference"].strip(),
                creditor=row["creditor"].strip(),
                iban=row["iban"].strip(),
                currency=row["currency"].strip(),
                amount=row["amount"].strip(),
                surplus=_SURPLUS in row,
            )
    except csv.Error as error:
        raise NonRetryable(f"{file.name}, line {reader.reader.line_num}: {error}") from error
