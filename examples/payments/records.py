"""The values between the steps."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

COLUMNS: Final = ("reference", "creditor", "iban", "currency", "amount")


@dataclass(frozen=True, slots=True)
class PaymentFile:
    """A CSV file whose header names at least the five columns."""

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Payment:
    """One row as it is written.

    ``line`` is the line of the file on which the row ends; the header is line 1. ``surplus`` is true if the row has
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
    """A payment with the reasons to reject it. ``amount`` is None if it is not a number."""

    line: int
    reference: str
    creditor: str
    currency: str
    amount: Decimal | None
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class CurrencyTotal:
    """The sum of all payments in one currency."""

    currency: str
    count: int
    total: Decimal


@dataclass(frozen=True, slots=True)
class RejectedPayment:
    """A row that is not paid, with all reasons."""

    line: int
    reference: str
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class SettlementSummary:
    """Totals by currency code, rejected rows by line."""

    accepted: int
    totals: list[CurrencyTotal]
    rejected: list[RejectedPayment]
