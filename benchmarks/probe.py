"""Measures claims, records and admin pages by calling the product's code repeatedly.

A separate process with the product's settings: `python -m benchmarks.probe TIMES LIMIT`. Claims and records are rolled
back each time. Prints the seconds of each call, and the smallest number of executions in a claim.
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import groupby

import django

django.setup()

from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from executions.lifecycle import outcome
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from executions.transports.celery import identity_of
from wire.messages.celery_messages import Outcome, OutcomeGroup, transition_key

WARM_UP = 5
PAGES = {
    "dashboard": "/admin/",
    "admin list": "/admin/executions/execution/",
    "admin list of live executions": "/admin/executions/execution/?status=live",
    "admin list of dead letters": "/admin/executions/deadletter/",
}


def claims_and_records(times: int, limit: int) -> dict[str, object]:
    """Claim executions and record one group of outcomes for them, and roll both back, `times` times."""
    claimed, recorded, least = [], [], limit
    for _ in range(times + WARM_UP):
        with transaction.atomic():
            began = time.perf_counter()
            found, _ = moves.claim(owner="benchmarks", limit=limit, lease_seconds=30)
            claimed.append(time.perf_counter() - began)
            recorded.append(_recorded(found))
            transaction.set_rollback(True)
        least = min(least, len(found))
    return {"claim": claimed[WARM_UP:], "record": recorded[WARM_UP:], "least": least}


def _recorded(claims: list[Claim]) -> float:
    [(identity, group)] = [(key, list(each)) for key, each in groupby(claims, key=identity_of)]
    outcomes = OutcomeGroup(worker_id="benchmarks", outcomes=[_outcome(claim) for claim in group])
    began = time.perf_counter()
    if outcome.record(identity, outcomes) != len(group):
        raise RuntimeError("Not all outcomes were recorded.")
    return time.perf_counter() - began


def _outcome(claim: Claim) -> Outcome:
    return Outcome(
        execution_id=claim.execution_id,
        execution_version=claim.version,
        lease_token=claim.lease_token,
        transition_key=transition_key(claim.execution_id, claim.step_index, claim.attempt),
        outcome="COMPLETED",
        output_payloads=["4"],
    )


def pages(times: int) -> dict[str, list[float]]:
    """Return the seconds of each page for a superuser, without a web server."""
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(User.objects.filter(is_superuser=True).earliest("pk"))

    def opened(address: str) -> Callable[[], None]:
        def open_it() -> None:
            response = client.get(address, secure=True)
            if response.status_code != 200:
                raise RuntimeError(f"{address} responded with {response.status_code}")

        return open_it

    return {name: _timed(opened(address), times) for name, address in PAGES.items()}


def _timed(call: Callable[[], None], times: int) -> list[float]:
    taken = []
    for _ in range(times + WARM_UP):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken[WARM_UP:]


if __name__ == "__main__":
    times, limit = int(sys.argv[1]), int(sys.argv[2])
    json.dump({**claims_and_records(times, limit), **pages(times)}, sys.stdout)
