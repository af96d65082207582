"""Three minimal steps."""

from pipelines import Pipeline

pipeline = Pipeline("benchmarks.three-steps")


@pipeline.step
def first(value: int) -> int:
    return value + 1


@pipeline.step
def second(value: int) -> int:
    return value + 1


@pipeline.step
def third(value: int) -> int:
    return value + 1
