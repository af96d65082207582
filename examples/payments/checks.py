"""The rules for payments."""

import re
from decimal import Decimal
from typing import Final

from examples.payments.iban import iban_problem
from examples.payments.records import CheckedPayment, Payment

# The number of digits of the minor unit (ISO 4217).
MINOR_DIGITS: Final = {
    **dict.fromkeys(("AED", "BGN", "CHF", "CZK", "DKK", "EUR", "GBP", "HUF", "ILS", "NOK", "PLN", "RON"), 2),
    **dict.fromkeys(("RSD", "SAR", "SEK", "TRY", "UAH", "USD"), 2),
    **dict.fromkeys(("ISK", "JPY"), 0),
    **dict.fromkeys(("BHD", "JOD", "KWD", "TND"), 3),
}
_AMOUNT: Final = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,6})?")


def checked(payment: Payment) -> CheckedPayment:
    """Return the payment with all rules that it breaks."""
    amount = Decimal(payment.amount) if _AMOUNT.fullmatch(payment.amount) else None
    found = [
        "row has too many values" if payment.surplus else None,
        None if payment.reference else "reference is missing",
        None if payment.creditor else "creditor is missing",
        iban_problem(payment.iban),
        _currency_problem(payment.currency),
        _amount_problem(payment.amount, amount, payment.currency),
    ]
    return CheckedPayment(
        line=payment.line,
        reference=payment.reference,
        creditor=payment.creditor,
        currency=payment.currency,
        amount=amount,
        reasons=[reason for reason in found if reason],
    )


def _currency_problem(currency: str) -> str | None:
    if not currency:
        return "currency is missing"
    return None if currency in MINOR_DIGITS else f"currency {currency} is unknown"


def _amount_problem(written: str, amount: Decimal | None, currency: str) -> str | None:
    if not written:
        return "amount is missing"
    if amount is None:
        return f"amount {written} is not a number"
    if amount <= 0:
        return f"amount {written} is not positive"
    digits = len(written.partition(".")[2])
    allowed = MINOR_DIGITS.get(currency, digits)
    return f"amount {written} has more than {allowed} digits after the point" if digits > allowed else None
