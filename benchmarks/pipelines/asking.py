"""An await that a person answers."""

from datetime import timedelta

from pipelines import Pipeline

pipeline = Pipeline("benchmarks.asking")
pipeline.awaits("ask", request=int, response=int, timeout=timedelta(days=1))
