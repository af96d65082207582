"""One step over a long text."""

from pipelines import Pipeline

pipeline = Pipeline("org.example.text")


@pipeline.step
def length(text: str) -> int:
    return len(text)
