"""A REST worker is registered again during its capability check."""

from typing import Any

import pytest
from django.conf import settings as configured
from django.db import connections
from django.utils import timezone

from executions.models import Worker
from executions.transports.rest import capabilities
from executions.transports.rest.workers import register
from tests import making
from tests.executions.transports.rest.serving import serving
from tests.executions.transports.rest.strict_worker import StrictWorker
from wire.worker_keys import worker_key

pytestmark = pytest.mark.usefixtures("committed")


class RegisteredMeanwhile(StrictWorker):
    """A worker that is registered again before it answers."""

    def capability_document(self) -> dict[str, Any]:
        try:
            Worker.objects.update(registered_at=timezone.now(), capability_checked_at=None)
        finally:
            connections.close_all()
        return super().capability_document()


@pytest.mark.parametrize(("kind", "counts"), [(StrictWorker, True), (RegisteredMeanwhile, False)])
def test_a_capability_response_counts_only_for_the_registration_that_was_checked(
    kind: type[StrictWorker], counts: bool, settings: Any
) -> None:
    release = making.active(making.tenant())
    identity, owner = release.identity, release.pipeline.tenant
    secret = worker_key(configured.WORKER_SECRET, owner.slug).text
    double = kind(identity.pipeline_id, identity.contract_version, identity.release_version, secret)
    with serving(double):
        settings.REST_WORKER_ORIGINS = [double.origin]
        worker = register(
            owner, identity, worker_id="rest-1", protocol="rest", endpoint=double.endpoint, actor="user:test"
        )
        capabilities.check(worker.pk)
    worker.refresh_from_db()
    assert (worker.capability_checked_at is not None) is counts
    assert len(double.requests) == 1
