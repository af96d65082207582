"""Both versions of the payments example settle the file that comes with them."""

from pathlib import Path

from examples.payments.pipeline import pipeline as payments
from examples.payments_v2.pipeline import pipeline as payments_v2
from pipelines import StepContext
from pipelines.worker.runner import Completed, run

FILE = Path(__file__).resolve().parents[4] / "examples/payments/data/payments.csv"


def test_both_versions_settle_the_file(context: StepContext) -> None:
    document = {"name": "payments.csv", "content": FILE.read_text(encoding="utf-8")}
    for pipeline, accepted in ((payments, 228), (payments_v2, 225)):
        outcome = run(pipeline, document, start=0, stop=-1, context=context)
        assert isinstance(outcome, Completed)
        [summary] = outcome.outputs
        assert isinstance(summary, dict)
        assert (summary["accepted"], len(summary["rejected"])) == (accepted, 253 - accepted)
