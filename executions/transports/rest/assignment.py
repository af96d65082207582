"""Sends claims for REST workers: one message each, to a separate queue, because requests may be slow.

The claim chose the worker and leased the execution in its name. See `executions.lifecycle.moves`.
"""

import uuid
from collections.abc import Callable, Sequence
from functools import partial

from celery import current_app

from executions.lifecycle.moves import Claim
from foundation.wakeups.broker_gate import gate

CALL_TASK = "executions.call_rest_worker"
OWNER = "rest:"


def worker_pk(owner: str) -> int:
    return int(owner.removeprefix(OWNER).partition(":")[0])


def share(claims: Sequence[Claim], give_back: Callable[[list[Claim]], None]) -> list[Claim]:
    """Send those of `claims` that REST workers hold. Return the others, which go to the queues of the releases.

    The claims are committed. `give_back` gets what the broker does not take.
    """
    calls = [claim for claim in claims if claim.rest_worker is not None]
    for place, claim in enumerate(calls):
        if not _sent(claim.execution_id, claim.lease_token):
            give_back(calls[place:])
            break
    return [claim for claim in claims if claim.rest_worker is None]


def _sent(execution_id: uuid.UUID, lease_token: uuid.UUID) -> bool:
    arguments = (str(execution_id), str(lease_token))
    return gate.send(partial(current_app.send_task, CALL_TASK, args=arguments, retry=False))
