"""Three minimal steps with checkpoints."""

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
