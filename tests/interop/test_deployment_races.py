"""Concurrent deployments, and deployments that wait while another process verifies their release."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import connections

from releases.models import Deployment, Pipeline, Release
from tests import making
from tests.building import eventually
from tests.concurrency.racing import race, results_of
from tests.interop.deploying import Deployer, described, published, refusal, verify_all
from tests.maven_repository import MavenRepository
from tests.repetition import rounds

pytestmark = pytest.mark.usefixtures("committed")
ROUNDS = rounds(5)
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
        assert refusal(deployer.call(document)) == (422, "DEPLOYMENT_REJECTED")
    assert Release.objects.filter(status="REJECTED").count() == 2


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
    assert Release.objects.count() == 1


@pytest.mark.parametrize("number", ROUNDS)
def test_each_key_gets_one_receipt_of_one_release(repository: MavenRepository, deployer: Deployer, number: int) -> None:
    document = published(repository)
    keys = ["a", "a", "b", "b"]
    with verifying():
        made = results_of(race(*[partial(deployer.deploy, document, key) for key in keys]))
    assert made == [made[0], made[0], made[2], made[2]]
    assert made[0] != made[2]
    assert (Deployment.objects.count(), Release.objects.count()) == (2, 1)


@pytest.mark.parametrize("number", ROUNDS)
def test_a_key_is_used_for_one_descriptor(repository: MavenRepository, deployer: Deployer, number: int) -> None:
    documents = [published(repository, f"{number}.0") for number in range(3)]
    with verifying():
        answers = results_of(race(*[partial(deployer.call, document) for document in documents]))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    assert {refusal(answer)[1] for answer in answers if answer.status_code == 409} == {"DEPLOYMENT_KEY_REUSED"}
    assert Deployment.objects.count() == 1


@pytest.mark.parametrize("number", ROUNDS)
def test_a_new_pipeline_belongs_to_one_application(
    repository: MavenRepository, deployer: Deployer, number: int
) -> None:
    calls = [
        partial(deployer.call, published(repository, f"{number}.0"), f"key-{number}", application=f"app-{number}")
        for number in range(3)
    ]
    with verifying():
        answers = results_of(race(*calls))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    assert {refusal(answer)[1] for answer in answers if answer.status_code == 409} == {"PIPELINE_OF_OTHER_APPLICATION"}
    winner = Deployment.objects.get()
    assert Pipeline.objects.get().application == winner.application
    assert Release.objects.get() == winner.release


def test_a_release_that_was_rejected_once_is_registered_when_its_artifact_is_there(
    repository: MavenRepository, deployer: Deployer
) -> None:
    document = published(repository)
    repository.file(ARTIFACT).unlink()
    with verifying():
        assert refusal(deployer.call(document)) == (422, "DEPLOYMENT_REJECTED")
        published(repository)
        deployer.deploy(document)
    assert [each.status for each in Release.objects.order_by("pk")] == ["REJECTED", "REGISTERED"]


def test_a_repository_that_is_down_delays_the_verdict(
    repository: MavenRepository, deployer: Deployer, settings: Any
) -> None:
    settings.TPF_DEPLOYMENT_WAIT_SECONDS = 1
    document = published(repository)
    repository.status = 503
    with verifying():
        assert refusal(deployer.call(document)) == (503, "DEPLOYMENT_PENDING")
        repository.status = None
        eventually(lambda: Release.objects.filter(status="REGISTERED").exists(), what="the verdict")
        deployer.deploy(document)
    assert Release.objects.count() == 1
