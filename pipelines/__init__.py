"""The names that the author of a pipeline imports."""

from pipelines.authoring.branches import branch
from pipelines.authoring.cardinality import Cardinality
from pipelines.authoring.concurrency import Concurrency, Rate
from pipelines.authoring.definition import Pipeline, StepContext
from pipelines.authoring.items import ItemFailure
from pipelines.authoring.waits import ACTIVE
from pipelines.errors import Cancelled, DefinitionError, NonRetryable

__all__ = [
    "ACTIVE",
    "Cancelled",
    "Cardinality",
    "Concurrency",
    "DefinitionError",
    "ItemFailure",
    "NonRetryable",
    "Pipeline",
    "Rate",
    "StepContext",
    "branch",
]
