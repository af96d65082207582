"""The REST transport: one message for each call, to a separate queue, because calls may be slow.

The claim chose the worker and leased the execution in its name. A control worker that receives the message makes the
call: see `executions.lifecycle.rest_calls`.
"""

from collections.abc import Sequence
from functools import partial

from celery import current_app

from executions import metrics
from executions.state_machine.moves import Claim
from foundation.wakeups.broker_gate import gate

CALL_TASK = "executions.call_rest_worker"


def send(claims: Sequence[Claim]) -> list[Claim]:
    """Send a message for each claim. Return the claims that were not sent because the broker refuses messages.

    The claims are committed.
    """
    for place, claim in enumerate(claims):
        arguments = (str(claim.execution_id), str(claim.lease_token))
        if not gate.send(partial(current_app.send_task, CALL_TASK, args=arguments, retry=False)):
            return list(claims[place:])
        metrics.dispatched.add(claim.tenant, claim.pipeline_id, claim.release_version)
    return []
