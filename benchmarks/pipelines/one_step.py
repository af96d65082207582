"""One minimal step."""

from pipelines import Pipeline

pipeline = Pipeline("benchmarks.one-step")


@pipeline.step
def only(value: int) -> int:
    return value + 1
