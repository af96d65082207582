"""Inserts executions and claims them in the same transaction, if the thread that dispatches has nothing to do.

So an execution on an idle system needs one commit and one round trip to the database less until it is sent. Under load,
one claim takes the executions of many commits instead, and is not delayed by an insertion.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection

from executions.state_machine import moves
from executions.state_machine.moves import Claim
from executions.transports.rest import lease_seconds
from executions.workers.registry import DISPATCH_TASK
from foundation import wakeup
from foundation.broker_gate import gate
from foundation.database import prepared
from foundation.database.postgresql.outage import is_outage

log = logging.getLogger(__name__)
MOST_ROWS = 10
REST_SECONDS = 1.0
"""After a claim that failed or left executions, such as those of a busy worker, for how long none is made here."""

_resumes_at = 0.0


def is_possible(rows: int) -> bool:
    """Return True if `rows` executions may be claimed with their insertion. Asks neither the database nor the broker.

    A quota needs a lock before the claim. Behind a pooler of transactions, sessions have plans of several processes.
    """
    return (
        rows <= MOST_ROWS
        and wakeup.is_idle_here(DISPATCH_TASK)
        and not gate.refused
        and time.monotonic() >= _resumes_at
        and not connection.in_atomic_block
        and settings.TENANT_MAX_IN_FLIGHT == 0
        and settings.DATABASE_POOLER == "none"
    )


def insert(statement: str, columns: Mapping[str, Any], rows: int) -> tuple[list[tuple[Any, ...]], list[Claim]] | None:
    """Insert `rows` executions with `statement`, and claim as many. Return the rows of the insertion, and the claims.

    A claim never waits for another transaction, and takes no lock that a pause, a revocation or another claim waits for
    longer than for the commit. Return None if the transaction failed but the insertion alone may succeed.
    """
    global _resumes_at
    began = time.monotonic()
    claim = moves.claim_statement(moves.owner(), gate.batch(rows), settings.LEASE_SECONDS, lease_seconds())
    try:
        accepted, claimed = prepared.execute_together((statement, columns), claim)
    except DatabaseError as error:
        if is_outage(error):
            raise
        log.warning("Executions could not be inserted and claimed together: %s", type(error.__cause__).__name__)
        _resumes_at = time.monotonic() + REST_SECONDS
        return None
    claims, _ = moves.claims_of(claimed, began)
    if {pk for pk, _ in accepted} - {claim.execution_id for claim in claims}:
        _resumes_at = time.monotonic() + REST_SECONDS
    return accepted, claims
