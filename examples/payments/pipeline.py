"""The pipeline: parse the file, check every payment, settle the valid ones."""

from collections.abc import Iterable, Iterator

from examples.payments.checks import checked
from examples.payments.payment_file import payments_in
from examples.payments.records import CheckedPayment, Payment, PaymentFile, SettlementSummary
from examples.payments.settlement import settled
from pipelines import Pipeline

pipeline = Pipeline("examples.payments")


@pipeline.step
def parse_file(file: PaymentFile) -> Iterator[Payment]:
    return payments_in(file)


@pipeline.step
def check_payment(payment: Payment) -> CheckedPayment:
    return checked(payment)


@pipeline.step
def settle(payments: Iterable[CheckedPayment]) -> SettlementSummary:
    return settled(payments)
