"""Sends instructions to Celery workers: to accept commands, or to finish those in progress and accept no more.

An instruction is a hint and the worker's row is the truth, so that an instruction may be lost, late or repeated. Every
change of the row causes one, and so does every heartbeat that contradicts the row.
"""

import uuid
from collections.abc import Collection
from functools import partial

from executions.models import Worker
from executions.workers import reported_code
from executions.workers.registry import CELERY
from executions.workers.tenant_keys import active_keys
from foundation.wakeups.broker_gate import gate
from wire.broker import client
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Instruction
from wire.messages.limits import MOST_LEASES, TOLERANCE
from wire.messages.queues import INSTRUCTION_TASK, instruction_queue_of
from wire.messages.sealing import seal


def send(worker_pk: int, lost_leases: Collection[uuid.UUID] = ()) -> bool:
    """Send the worker its instruction: to drain, if an operator drained it or the pipeline's policy refuses its code.

    `lost_leases` are tokens of lost leases that the worker still holds.

    Return False if the worker has stopped or announced a drain, or if the broker refuses the message. REST workers get
    no instructions.

    Each worker has its own queue. The queue holds only the newest instruction, and expires once a worker would reject
    the instruction as too old. So instructions do not accumulate for a worker that does not read them, and a dead
    worker leaves no queue behind.
    """
    worker = (
        Worker.objects.select_related("tenant")
        .defer("environment")
        .filter(pk=worker_pk, protocol=CELERY, stopped_at=None, draining_since=None)
        .first()
    )
    if worker is None:
        return False
    identity = ReleaseIdentity(worker.tenant.slug, worker.pipeline_id, worker.contract_version, worker.release_version)
    refused = reported_code.is_refused(worker.tenant_id, worker.pipeline_id, worker.code)
    drain = worker.drained_by_operator_at is not None or refused
    instruction = Instruction(worker_id=worker.worker_id, drain=drain, lost_leases=list(lost_leases)[:MOST_LEASES])
    envelope = seal(identity, instruction, *active_keys(identity.tenant_id))
    queue = instruction_queue_of(identity, worker.worker_id)
    seconds = TOLERANCE.total_seconds()
    return gate.send(partial(client.send_latest, INSTRUCTION_TASK, envelope, queue=queue, seconds=seconds))
