"""The pipeline of ``examples.payments``, with a step that rejects creditors on the denied-party list."""

from dataclasses import replace

from examples.payments.pipeline import check_payment, parse_file, settle
from examples.payments.records import CheckedPayment
from examples.payments_v2.screening import denied_party
from pipelines import Pipeline

pipeline = Pipeline("examples.payments", packages=("examples.payments",))

pipeline.step(parse_file)
pipeline.step(check_payment)


@pipeline.step
def screen_creditor(payment: CheckedPayment) -> CheckedPayment:
    denied = denied_party(payment.creditor)
    return replace(payment, reasons=[*payment.reasons, f"creditor is denied: {denied}"]) if denied else payment


pipeline.step(settle)
