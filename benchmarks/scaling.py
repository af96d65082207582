"""The effect of a second worker and a second control worker on throughput."""

from benchmarks.load import NotOffered
from benchmarks.plan import Plan
from benchmarks.product_under_test import ProductUnderTest
from benchmarks.report import Measure, Report
from benchmarks.running_product import THREE_STEPS
from benchmarks.throughput import BATCH, ONE_BY_ONE, interleaved, product_rate


def scaling(report: Report, plan: Plan) -> None:
    """Measure 8. Additional processes are started and stopped between the rounds."""
    with ProductUnderTest() as product:
        report.say("The product is up")
        product.host(THREE_STEPS)
        mode = BATCH
        try:
            alone = product_rate(report, "one of each", product, THREE_STEPS, plan, mode)
        except NotOffered as error:
            report.skip("scaling in batches", f"{error}; submitted one by one instead")
            mode = ONE_BY_ONE
            alone = product_rate(report, "one of each", product, THREE_STEPS, plan, mode)

        def second_transition_worker() -> float:
            child = product.start_worker(THREE_STEPS)
            try:
                return product_rate(report, "two workers", product, THREE_STEPS, plan, mode)()
            finally:
                product.stop_process(child)

        def second_control_worker() -> float:
            child = product.start_control_worker()
            try:
                return product_rate(report, "two control workers", product, THREE_STEPS, plan, mode)()
            finally:
                product.stop_process(child)

        larger = {"two workers": second_transition_worker, "two control workers": second_control_worker}
        ours, theirs = interleaved(plan, alone, larger)
        for name, rates in theirs.items():
            report.add(Measure(f"{name} : one", rates, ours, "executions/s", None))
