"""A release of the order flow, hosted by the strict double."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings as django_settings

from executions.models import Worker
from executions.submission import admission
from executions.transports.rest import capabilities, transport
from executions.transports.rest import dispatch as rest_dispatch
from executions.transports.rest.workers import register
from executions.workers.registry import REST
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.executions.conftest import broken_broker
from tests.interop.strict_worker import CONTRACT_STEPS, DTO, StrictWorker, serving
from wire.worker_keys import worker_key

__all__ = ["broken_broker"]
PIPELINE = "org.pipelineframework.restaurantapproval"
ORDER = {"requestId": "r1", "customerId": "c1", "amount": 27.5}
ORDER_TYPE = DTO + "PlaceRestaurantOrderRequestDto"


@dataclass
class Flow:
    """An active release of the order flow, and the worker that is registered for it."""

    owner: Tenant
    release: Release
    double: StrictWorker
    worker: Worker

    def check(self) -> None:
        """Check the worker now, as a control worker does."""
        capabilities.check(self.worker.pk)
        admission.cache.clear()

    def dispatch(self) -> int:
        """Claim due executions, send the claims, and call the worker, as dispatch and its tasks do."""
        called = 0
        while claims := making.claimed(self.owner):
            assert {claim.protocol for claim in claims} == {REST}
            assert transport.send(claims) == []
            for claim in claims:
                assert rest_dispatch.run(claim.execution_id, claim.lease_token)
                called += 1
        return called


@pytest.fixture
def serve() -> Iterator[Callable[[StrictWorker], StrictWorker]]:
    with ExitStack() as stack:
        yield lambda worker: stack.enter_context(serving(worker))


@pytest.fixture
def flow(db: None, serve: Callable[[StrictWorker], StrictWorker], settings: Any) -> Flow:
    owner = making.tenant()
    release = making.active(owner, pipeline_id=PIPELINE, steps=CONTRACT_STEPS, transport="REST")
    secret = worker_key(django_settings.WORKER_SECRET, owner.slug).text
    double = serve(StrictWorker(PIPELINE, release.contract_version, release.release_version, secret))
    settings.REST_WORKER_ORIGINS = [double.origin]
    settings.REST_WORKER_TIMEOUT_SECONDS = 5
    worker = register(
        owner, release.identity, worker_id="java-1", protocol="rest", endpoint=double.endpoint, actor="user:test"
    )
    flow = Flow(owner, release, double, worker)
    flow.check()
    double.requests.clear()
    return flow
