"""What the author of a pipeline imports."""

from pipelines.definition import Cardinality, Pipeline, StepContext
from pipelines.errors import DefinitionError, NonRetryable

__all__ = ["Cardinality", "DefinitionError", "NonRetryable", "Pipeline", "StepContext"]
