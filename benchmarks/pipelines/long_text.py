"""One step over a long text."""

from pipelines import Pipeline

pipeline = Pipeline("benchmarks.long-text")


@pipeline.step
def measured(text: str) -> int:
    return len(text)
