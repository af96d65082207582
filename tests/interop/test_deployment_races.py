"""Concurrent deployments, and deployments that wait while another process verifies their release."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections

from releases.models import Deployment
from tests import making
from tests.interop.deploying import Deployer, described, published, refusal, verify_all
from tests.maven_repository import MavenRepository

pytestmark = pytest.mark.usefixtures("committed")
ARTIFACT = "maven:com.acme:orders:1.0"


@pytest.fixture(autouse=True)
def waits(repository: MavenRepository, settings: Any) -> None:
    settings.TPF_DEPLOYMENT_WAIT_SECONDS = 30


@contextmanager
def verifying() -> Iterator[None]:
    """Verify releases in another thread, as a control worker does."""
    over = threading.Event()

    def verify() -> None:
        while not over.wait(0.05):
            verify_all()
        connections.close_all()

    thread = threading.Thread(target=verify, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


def test_a_rejection_is_returned_with_its_findings(repository: MavenRepository, deployer: Deployer) -> None:
    repository.publish(ARTIFACT, b"other bytes")
    document = described(uri=ARTIFACT, digest=making.digest_of(b"bytes"))
    with verifying():
        answer = deployer.call(document)
        assert refusal(answer) == (422, "DEPLOYMENT_REJECTED")
        assert "MAVEN_ARTIFACT_OTHER_DIGEST" in [error["code"] for error in answer.json()["errors"]]
    assert not Deployment.objects.exists()


def test_the_wait_is_bounded_and_the_next_request_continues_it(
    repository: MavenRepository, deployer: Deployer, settings: Any
) -> None:
    settings.TPF_DEPLOYMENT_WAIT_SECONDS = 0.5
    document = published(repository)
    began = time.monotonic()
    assert refusal(deployer.call(document)) == (503, "DEPLOYMENT_PENDING")
    assert 0.5 <= time.monotonic() - began < 5
    settings.TPF_DEPLOYMENT_WAIT_SECONDS = 30
    with verifying():
        deployer.deploy(document)
