from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from releases.models import Release
from tests import making
from tests.executions.transports.rest.order_flow import PIPELINE, Flow, hosted
from tests.executions.transports.rest.strict_worker import CONTRACT_STEPS, StrictWorker, serving


@pytest.fixture
def serve() -> Iterator[Callable[[StrictWorker], StrictWorker]]:
    with ExitStack() as stack:
        yield lambda worker: stack.enter_context(serving(worker))


@pytest.fixture(scope="module")
def order_release(module_world: None) -> Release:
    return making.active(making.tenant(), pipeline_id=PIPELINE, steps=CONTRACT_STEPS, transport="REST")


@pytest.fixture
def flow(db: None, order_release: Release, serve: Callable[[StrictWorker], StrictWorker], settings: Any) -> Flow:
    return hosted(Release.objects.select_related("pipeline__tenant").get(pk=order_release.pk), serve, settings)
