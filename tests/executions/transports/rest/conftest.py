"""The order flow, hosted by the strict worker."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.conf import settings as django_settings

from executions.transports.rest.workers import register
from tests import making
from tests.executions.conftest import broken_broker
from tests.executions.transports.rest.order_flow import PIPELINE, Flow
from tests.executions.transports.rest.serving import serving
from tests.executions.transports.rest.strict_worker import CONTRACT_STEPS, StrictWorker
from wire.worker_keys import worker_key

__all__ = ["broken_broker"]


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
