"""Sends instructions to Celery workers, and refuses their messages: it logs that, and sends notices.

An instruction is a hint and the worker's row is the truth, so that an instruction may be lost, late or repeated. Every
change of the row causes one, and so does every heartbeat that contradicts the row.

Nothing in a refused message is verified, so its text is cleaned and truncated, and the rate of lines and notices is
limited for each tenant.
"""

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Collection
from functools import partial
from typing import Any

from executions import metrics
from executions.models import Worker
from executions.workers import registry, tenant_keys
from executions.workers.registry import CELERY
from executions.workers.tenant_keys import active_keys
from foundation.broker_gate import gate
from wire.broker import sending
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import MOST_LEASES, TOLERANCE, Instruction
from wire.messages.queues import INSTRUCTION_TASK, instruction_queue_of
from wire.messages.sealing import ProtocolError, Refusal, Sender, refusable, seal, sender_of


def send(worker_pk: int, lost_leases: Collection[uuid.UUID] = ()) -> bool:
    """Send the worker its instruction: to drain, if an operator drained it or the pipeline's policy refuses its code.

    It also says why the worker gets no work, for example because its release is not registered.

    `lost_leases` are tokens of lost leases that the worker still holds.

    Return False if the worker has stopped or announced a drain, or if the broker refuses the message. REST workers get
    no instructions.

    Each worker has its own queue. The queue holds only the newest instruction, and expires once a worker would reject
    the instruction as too old. So instructions do not accumulate for a worker that does not read them, and a dead
    worker leaves no queue behind.
    """
    worker = (
        Worker.objects.select_related("tenant", "eligibility")
        .defer("environment")
        .filter(pk=worker_pk, protocol=CELERY, stopped_at=None, draining_since=None)
        .first()
    )
    if worker is None:
        return False
    identity = ReleaseIdentity(worker.tenant.slug, worker.pipeline_id, worker.contract_version, worker.release_version)
    refused = registry.is_refused(worker.tenant_id, worker.pipeline_id, worker.code)
    drain = worker.drained_by_operator_at is not None or refused
    instruction = Instruction(
        worker_id=worker.worker_id,
        drain=drain,
        ineligible_reason=worker.eligibility.reason,
        lost_leases=list(lost_leases)[:MOST_LEASES],
    )
    envelope = seal(identity, instruction, *active_keys(identity.tenant_id))
    queue = instruction_queue_of(identity, worker.worker_id)
    seconds = TOLERANCE.total_seconds()
    return gate.send(partial(sending.send_latest, INSTRUCTION_TASK, envelope, queue=queue, seconds=seconds))


log = logging.getLogger("executions.workers.refusals")
WINDOW_SECONDS = 60.0
MOST_LINES, MOST_NOTICES = 60, 3000
LONGEST_TEXT = 300


class Rate:
    """Allows `most` calls for each tenant in each window, and counts the others. Safe to use from many threads.

    Messages that name no existing tenant share one budget, so the number of budgets is bounded.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Start a new window, and set all counts to 0."""
        self._window = float("-inf")
        self._allowed: Counter[str] = Counter()
        self._held_back: Counter[str] = Counter()

    def allows(self, tenant_id: str) -> bool:
        with self._lock:
            now = time.monotonic()
            if now - self._window >= WINDOW_SECONDS:
                self._window = now
                self._allowed.clear()
            if self._allowed[tenant_id] < self._most:
                self._allowed[tenant_id] += 1
                return True
            self._held_back[tenant_id] += 1
            return False

    def held_back(self, tenant_id: str) -> int:
        """Return how many calls were not allowed since the last call of this method."""
        with self._lock:
            return self._held_back.pop(tenant_id, 0)


lines, notices = Rate(MOST_LINES), Rate(MOST_NOTICES)


def refuse_outcomes(message: Any, error: ProtocolError) -> None:
    sender = sender_of(message)
    _log("an outcome message", sender, _budget_of(sender), error)


def refuse_heartbeat(message: Any, error: ProtocolError) -> None:
    """Log that a heartbeat is refused, and send a notice to the worker that it names.

    The notice never replaces an instruction, because every client with access to the broker can cause it.
    """
    sender = sender_of(message)
    budget = _budget_of(sender)
    _log("a heartbeat", sender, budget, error)
    if sender is None or sender.worker_id is None or not refusable(error.code) or not notices.allows(budget):
        return
    notice = Refusal(nonce=sender.nonce, code=error.code).model_dump(by_alias=True)
    queue = instruction_queue_of(sender.identity, sender.worker_id)
    # If the broker refuses the notice, the next heartbeat causes another.
    gate.send(partial(sending.send_if_empty, INSTRUCTION_TASK, notice, queue=queue, seconds=TOLERANCE.total_seconds()))


def _budget_of(sender: Sender | None) -> str:
    """Return the tenant that the message names; the empty text if it names no existing one."""
    return sender.tenant_id if sender is not None and tenant_keys.exists(sender.tenant_id) else ""


def _log(what: str, sender: Sender | None, budget: str, error: ProtocolError) -> None:
    metrics.messages_refused.add(error.code)
    if not lines.allows(budget):
        return
    held_back = lines.held_back(budget)
    named = ""
    if sender is not None:
        worker = "" if sender.worker_id is None else f"worker {_cleaned(sender.worker_id)} of "
        named = f" It names {worker}{_cleaned(str(sender.identity))}."
    more = f" {held_back} refusals before it were not logged." if held_back else ""
    log.warning(f"Refused {what}: %s: %s%s%s", error.code, _cleaned(str(error)), named, more)


def _cleaned(text: str) -> str:
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text[:LONGEST_TEXT]
    )
