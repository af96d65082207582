"""Tests pipelines and their steps. Nothing here needs a test framework.

``run`` runs a whole pipeline in the test's process, without a server and without waiting. ``context`` makes a
``StepContext`` for a step that a test calls as a function. ``assert_compatible`` compares a pipeline with a release.
``coordinator`` hosts pipelines on a real coordinator, which it starts for the test.
"""

from pipelines.local_run import Question
from pipelines.testing.comparing import assert_compatible
from pipelines.testing.hosting import coordinator
from pipelines.testing.running import Result, RunFailed, after, context, never, run

__all__ = [
    "Question",
    "Result",
    "RunFailed",
    "after",
    "assert_compatible",
    "context",
    "coordinator",
    "never",
    "run",
]
