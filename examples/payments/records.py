"""What passes between the steps."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

COLUMNS: Final = ("reference", "creditor", "iban", "currency", "amount")


@dataclass(frozen=True, slots=True)
class PaymentFile:
    """A CSV file with a header that names at least the five columns."""

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Payment:
    """One row as it was written.

    ``line`` is the line of the file on which the row ends, the header being line 1; ``surplus`` says that the row has
    more values than the header has columns.
    """

    line: int
    reference: str
    creditor: str
    iban: str
    currency: str
    amount: str
    surplus: bool


@dataclass(frozen=True, slots=True)
class CheckedPayment:
    """A payment with everything that is wrong with it. ``amount`` is None when it could not be read."""

    line: int
    reference: str
    creditor: str
    currency: str
    amount: Decimal | None
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class CurrencyTotal:
    """What is to be paid in one currency."""

    currency: str
    count: int
    total: Decimal


@dataclass(frozen=True, slots=True)
class RejectedPayment:
    """A row that is not paid, and every reason why."""

    line: int
    reference: str
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class SettlementSummary:
    """Totals by currency code, rejected rows by line."""

    accepted: int
    totals: list[CurrencyTotal]
    rejected: list[RejectedPayment]
