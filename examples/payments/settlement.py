"""Summarises accepted and rejected payments."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from examples.payments.records import CheckedPayment, CurrencyTotal, RejectedPayment, SettlementSummary


def settled(payments: Iterable[CheckedPayment]) -> SettlementSummary:
    """Return the totals of the payments without a reason to reject them, and the others with their reasons."""
    amounts: defaultdict[str, list[Decimal]] = defaultdict(list)
    rejected = []
    for payment in payments:
        if payment.reasons or payment.amount is None:
            rejected.append(RejectedPayment(payment.line, payment.reference, payment.reasons))
        else:
            amounts[payment.currency].append(payment.amount)
    return SettlementSummary(
        accepted=sum(len(paid) for paid in amounts.values()),
        totals=[
            CurrencyTotal(currency, len(paid), sum(paid, Decimal(0))) for currency, paid in sorted(amounts.items())
        ],
        rejected=rejected,
    )
