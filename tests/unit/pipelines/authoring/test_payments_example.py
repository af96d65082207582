"""The payments example: exact totals, and each rejected row with its reasons."""

from pathlib import Path
from typing import Any

from examples.payments.pipeline import pipeline as payments
from examples.payments_v2.pipeline import pipeline as payments_v2
from examples.payments_v2.screening import denied_party
from pipelines import Pipeline, StepContext
from pipelines.authoring.compiler import compile_contract
from pipelines.failures import Failed
from pipelines.worker.runner import Completed, run
from tests.cases import cases

FILE = Path(__file__).resolve().parents[4] / "examples/payments/data/payments.csv"
TOTALS = {"AED": (5, "2451.53"), "BHD": (2, "749.158"), "EUR": (120, "644707.80"), "JPY": (1, "184500")}
"""The counts and totals of currencies with three, two and no digits after the point."""
REJECTED = {
    8: ["IBAN FR06366444278758990080KW845 has wrong check digits"],
    16: ["IBAN of FI has 17 characters, not 18"],
    31: ["IBAN country ZZ is unknown"],
    35: ["amount -1089629 is not positive"],
    103: ['IBAN "on request" is malformed'],
    117: ["IBAN is missing"],
    124: ["amount 1.250,00 is not a number"],
    162: ["amount is missing"],
    173: ["currency EURO is unknown"],
    197: ["creditor is missing"],
    205: ["reference is missing"],
    216: ["amount 99.995 has more than 2 digits after the point"],
    227: ["amount 12500.50 has more than 0 digits after the point"],
    238: [
        "IBAN SK8838293840368797064054 has wrong check digits",
        "currency DOGE is unknown",
        "amount -40.00 is not positive",
    ],
    245: ["currency is missing", "amount is missing"],
    254: ["row has too many values"],
}
DENIED = {
    62: ["creditor is denied: Škoda-Marek Finance s.r.o."],
    133: ["creditor is denied: Kestrel Gulf Trading FZE"],
    210: ["creditor is denied: Aurelio Brancatisano"],
}


def settled(pipeline: Pipeline, context: StepContext, content: str) -> dict[str, Any]:
    document = {"name": "payments.csv", "content": content}
    outcome = run(pipeline, document, start=0, stop=-1, context=context)
    assert isinstance(outcome, Completed)
    (summary,) = outcome.outputs
    assert isinstance(summary, dict)
    return summary


def rejected(summary: dict[str, Any]) -> dict[int, list[str]]:
    return {entry["line"]: entry["reasons"] for entry in summary["rejected"]}


def test_both_versions_settle_the_file(context: StepContext) -> None:
    content = FILE.read_text(encoding="utf-8")
    first, second = settled(payments, context, content), settled(payments_v2, context, content)
    totals = {entry["currency"]: (entry["count"], entry["total"]) for entry in first["totals"]}
    assert totals.items() >= TOTALS.items()
    assert first["accepted"] == 228 == sum(count for count, _ in totals.values())
    assert len(first["rejected"]) == 25
    assert rejected(first).items() >= REJECTED.items()
    assert rejected(second) == rejected(first) | DENIED
    assert second["accepted"] == 225


def test_two_contracts_of_one_pipeline() -> None:
    first, second = compile_contract(payments), compile_contract(payments_v2)
    assert first["pipelineId"] == second["pipelineId"] == "examples.payments"
    assert first["contractVersion"] != second["contractVersion"]
    names = ["Parse file", "Check payment", "Screen creditor", "Settle"]
    assert [step["authoredName"] for step in second["steps"]] == names
    assert [step["authoredName"] for step in first["steps"]] == [*names[:2], names[3]]


@cases(
    ("content", "says"),
    [
        ("", "no column reference, creditor, iban, currency, amount"),
        ("reference,creditor,iban,amount\n", "no column currency"),
        ('reference,creditor,iban,currency,amount\n"a,b', "line 2: unexpected end of data"),
    ],
)
def test_an_invalid_payment_file_is_not_retried(context: StepContext, content: str, says: str) -> None:
    failed = run(payments, {"name": "bad.csv", "content": content}, start=0, stop=-1, context=context)
    assert isinstance(failed, Failed)
    assert (failed.failure_class, failed.retryable, failed.step_name) == (
        "pipelines.errors.NonRetryable",
        False,
        "Parse file",
    )
    assert says in failed.message


def test_a_file_may_start_with_a_byte_order_mark_and_have_no_rows(context: StepContext) -> None:
    assert settled(payments, context, "\ufeffreference,creditor,iban,currency,amount\r\n") == {
        "accepted": 0,
        "totals": [],
        "rejected": [],
    }


def test_names_match_in_any_spelling() -> None:
    for name in ("Ingrid Þórsdóttir", "THORSDOTTIR, Ingrid"):
        assert denied_party(name) == "Ingrid Þórsdóttir"
    assert denied_party("Blackwater Quay Bakery") is denied_party("") is None
