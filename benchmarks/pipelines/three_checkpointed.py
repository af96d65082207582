"""Three steps that do nothing worth measuring, each kept before the next begins."""

from pipelines import Pipeline

pipeline = Pipeline("benchmarks.three-checkpointed", checkpoint=True)


@pipeline.step
def first(value: int) -> int:
    return value + 1


@pipeline.step
def second(value: int) -> int:
    return value + 1


@pipeline.step
def third(value: int) -> int:
    return value + 1
