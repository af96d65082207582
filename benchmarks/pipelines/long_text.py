"""One step with a long text as input."""

from pipelines import Pipeline

pipeline = Pipeline("benchmarks.long-text")


@pipeline.step
def measured(text: str) -> int:
    return len(text)
