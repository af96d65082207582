"""What the step after an await takes, by the contract to which its execution is pinned."""

import uuid

from executions.models import Execution
from wire.documents import contract


def takes_request(execution_id: uuid.UUID, step_index: int) -> bool:
    """Return True if a step of the execution takes the request of the await before it, besides the answer."""
    steps = Execution.objects.filter(pk=execution_id).values_list("release__contract__document__steps", flat=True)
    return contract.takes_request(steps.first(), step_index)
