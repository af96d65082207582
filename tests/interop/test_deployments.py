"""The deployment API: what it accepts and refuses, and its receipts. Verdicts are made between the requests."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from foundation.api.streaming import ARRIVED, PAUSE
from governance.retirement.retirement import revoke
from releases.artifacts import blob_lock
from releases.models import KEY_LENGTH, Activation, Deployment, Pipeline, Release
from releases.registration.registrar import register
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.cases import cases
from tests.clock import Clock
from tests.interop.deploying import CONTRACT, Deployer, nothing_is_stored, published, refusal, token, verify_all
from tests.maven_repository import MavenRepository
from tests.oauth_issuer import OAuthIssuer
from wire.documents.descriptor import MAX_DESCRIPTOR_BYTES

pytestmark = pytest.mark.django_db


@contextmanager
def meanwhile(sql: str, act: Callable[[], object]) -> Iterator[None]:
    """Call `act` after the first statement that contains `sql`, as a concurrent request might."""
    acted: list[str] = []

    def execute(run: Any, statement: str, *arguments: Any) -> Any:
        rows = run(statement, *arguments)
        if not acted and sql in statement:
            acted.append(statement)
            act()
        return rows

    with connection.execute_wrapper(execute):
        yield
    assert acted


def test_a_release_is_stored_with_its_bytes_and_a_receipt(document: bytes, owner: Tenant, deployer: Deployer) -> None:
    deployment_id = deployer.deploy_new(document, "key-1", application="Æther orders", environment="eu west")
    receipt = Deployment.objects.get(pk=deployment_id)
    release = Release.objects.get()
    assert (receipt.tenant, receipt.release, receipt.idempotency_key) == (owner, release, "key-1")
    assert (receipt.application, receipt.environment, receipt.actor) == ("Æther orders", "eu west", "token:ci-0")
    assert bytes(release.descriptor_document) == document
    assert receipt.descriptor_digest == release.descriptor_digest == making.digest_of(document)
    assert (release.status, release.uploaded_by) == ("REGISTERED", "token:ci-0")
    assert release.pipeline.application == "Æther orders"
    assert not Activation.objects.exists()
    assert Pipeline.objects.get().worker_gate == "require"


def test_a_repeated_request_gets_the_same_receipt_whatever_happened_since(document: bytes, deployer: Deployer) -> None:
    first = deployer.deploy_new(document)
    assert deployer.deploy(document) == first
    release = Release.objects.get()
    revoke(release, actor="user:ann", reason="broken")
    assert deployer.deploy(document) == first
    assert Deployment.objects.count() == Release.objects.count() == 1
    assert refusal(deployer.call(document, "another")) == (409, "RELEASE_REVOKED")
    assert Deployment.objects.count() == 1


def test_another_key_or_tenant_with_equal_bytes_gets_its_own_receipt(document: bytes, deployer: Deployer) -> None:
    made = [deployer.deploy_new(document)]
    made += [deployer.deploy(document, "key-2"), deployer.deploy(document, "staging", environment="staging")]
    assert Release.objects.count() == 1
    other = making.tenant()
    made += [Deployer(other.slug, token(other)).deploy_new(document, application="other")]
    assert len(set(made)) == Deployment.objects.count() == 4
    assert refusal(deployer.call(document + b" ", "more")) == (409, "RELEASE_CONFLICT")
    assert {row.tenant_id for row in Deployment.objects.all()} == {tenant.pk for tenant in Tenant.objects.all()}


def test_a_key_belongs_to_one_descriptor_application_and_environment(document: bytes, deployer: Deployer) -> None:
    first = deployer.deploy_new(document)
    for other, changes in (
        (document + b" ", {}),
        (b"{", {}),
        (document, {"application": "other"}),
        (document, {"environment": "staging"}),
    ):
        answer = deployer.call(other, **changes)
        assert refusal(answer) == (409, "DEPLOYMENT_KEY_REUSED")
        assert answer.json()["deploymentId"] == first
    assert Deployment.objects.count() == Release.objects.count() == 1


def test_a_rejected_release_leaves_no_receipt(repository: MavenRepository, document: bytes, deployer: Deployer) -> None:
    repository.file("maven:com.acme:orders:1.0").unlink()
    deployer.call(document)
    verify_all()
    assert [release.status for release in Release.objects.all()] == ["REJECTED"]
    answer = deployer.call(document)
    assert refusal(answer) == (503, "DEPLOYMENT_PENDING")
    assert int(answer.headers["Retry-After"]) > 0
    published(repository)
    verify_all()
    deployer.deploy(document)
    assert [release.status for release in Release.objects.order_by("pk")] == ["REJECTED", "REGISTERED"]
    assert Deployment.objects.count() == 1


def test_a_call_that_waits_ends_before_its_client_gives_up_and_says_which_server_does_not_answer(
    repository: MavenRepository, document: bytes, deployer: Deployer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request took 20 seconds to arrive, so it waits for 30 more. Clients wait for 60 seconds."""
    repository.status = 503
    deployer.call(document)
    verify_all()
    settings.TPF_DEPLOYMENT_WAIT_SECONDS, clock = 50, Clock(monkeypatch)
    arrived = time.monotonic() - 20

    def pause(seconds: float) -> None:
        clock.ahead += seconds

    answer = deployer.call(document, environ={ARRIVED: arrived, PAUSE: pause})
    assert refusal(answer) == (503, "DEPLOYMENT_PENDING")
    assert [error["code"] for error in answer.json()["errors"]] == ["MAVEN_REPOSITORY_UNAVAILABLE"]
    assert 50 <= time.monotonic() - arrived < 55


def test_a_call_waits_for_a_removal_no_longer_than_for_its_verdict(document: bytes, deployer: Deployer) -> None:
    for earlier in ("no release", "an unverified release"):
        began = time.monotonic()
        with blob_lock.exclusive(json.loads(document)["artifacts"][0]["digest"]):
            assert refusal(deployer.call(document)) == (503, "ARTIFACT_STORE_UNAVAILABLE"), earlier
        assert time.monotonic() - began < 5
        deployer.call(document)


def test_an_invalid_older_or_larger_descriptor_is_refused(
    repository: MavenRepository, document: bytes, deployer: Deployer
) -> None:
    older = making.descriptor(CONTRACT, making.archive(CONTRACT))
    assert refusal(deployer.call(json.dumps(older).encode())) == (400, "DESCRIPTOR_PROFILE_UNSUPPORTED")
    answer = deployer.call(published(repository, digest="sha256:ABC"))
    assert refusal(answer) == (400, "DESCRIPTOR_INVALID")
    assert [error["code"] for error in answer.json()["errors"]] == ["ARTIFACT_DIGEST_MALFORMED"]
    answer = deployer.call(published(repository, uri="file:///srv/app.jar"))
    assert refusal(answer) == (422, "DEPLOYMENT_REJECTED")
    assert [error["code"] for error in answer.json()["errors"]] == ["ARTIFACT_NOT_PROMOTABLE"]
    largest = document + b" " * (MAX_DESCRIPTOR_BYTES - len(document))
    assert refusal(deployer.call(largest + b" ")) == (413, "PAYLOAD_TOO_LARGE")
    assert nothing_is_stored()
    deployer.deploy_new(largest)


def test_a_pipeline_belongs_to_the_application_of_its_first_deployment(
    repository: MavenRepository, document: bytes, owner: Tenant, deployer: Deployer
) -> None:
    assert making.registered(owner, "0.9").pipeline.application == ""
    deployer.deploy_new(document, "k1")
    assert refusal(deployer.call(published(repository, "2.0"), "k2", application="other")) == (
        409,
        "PIPELINE_OF_OTHER_APPLICATION",
    )
    assert (Release.objects.count(), Deployment.objects.count()) == (2, 1)
    deployer.deploy_new(published(repository, "2.0"), "k2")
    assert Pipeline.objects.get().application == "orders"


def test_the_first_of_two_receipts_assigns_the_pipeline(document: bytes, owner: Tenant, deployer: Deployer) -> None:
    deployer.call(document)
    verify_all()

    def assign_meanwhile() -> None:
        deployer.deploy(document, "theirs", application="other")

    with meanwhile('FROM "releases_pipeline"', assign_meanwhile):
        assert refusal(deployer.call(document)) == (409, "PIPELINE_OF_OTHER_APPLICATION")
    assert (Pipeline.objects.get().application, Deployment.objects.count()) == ("other", 1)


def test_a_refused_deployment_assigns_no_pipeline(
    repository: MavenRepository, document: bytes, owner: Tenant, deployer: Deployer
) -> None:
    stored = json.dumps(making.descriptor({**CONTRACT, "pipelineId": "another"}, b"")).encode()
    register(owner, stored, (), actor="user:test")
    Tenant.objects.filter(pk=owner.pk).update(quota_uploads=1)
    assert refusal(deployer.call(document)) == (429, "QUOTA_EXCEEDED")
    assert refusal(deployer.call(published(repository, uri="file:///srv/app.jar"))) == (422, "DEPLOYMENT_REJECTED")
    assert [pipeline.pipeline_id for pipeline in Pipeline.objects.all()] == ["another"]
    Tenant.objects.filter(pk=owner.pk).update(quota_uploads=None)
    repository.file("maven:com.acme:orders:1.0").unlink()
    deployer.call(document)
    verify_all()
    mine = Pipeline.objects.exclude(pipeline_id="another")
    assert (mine.get().releases.get().status, mine.get().application) == ("REJECTED", "")
    deployer.deploy_new(published(repository), "theirs", application="other")
    assert mine.get().application == "other"


def test_of_two_requests_with_one_key_the_second_gets_the_first_receipt(document: bytes, deployer: Deployer) -> None:
    made = list[str]()
    deployer.deploy_new(document, "first")
    looked_up = 'FROM "releases_deployment"'
    with meanwhile(looked_up, lambda: made.append(deployer.deploy(document))):
        assert deployer.deploy(document) == made[0]
    assert Deployment.objects.count() == 2


BAD_KEYS = [None, "  ", "x" * (KEY_LENGTH + 1), "a\u0085b"]
BAD_NAMES = ["a ", "..", "a\u200bb", "x" * 501]


@cases(
    ("field", "changes"),
    [
        *(("Idempotency-Key", {"headers": {"Idempotency-Key": key}}) for key in BAD_KEYS),
        ("X-TPF-Deployment-Mode", {"headers": {"X-TPF-Deployment-Mode": "MANAGED"}}),
        *((part, {part: name}) for part in ("application", "environment") for name in BAD_NAMES),
    ],
)
def test_invalid_requests_are_refused(document: bytes, deployer: Deployer, field: str, changes: dict[str, Any]) -> None:
    answer = deployer.call(document, **changes)
    assert refusal(answer) == (400, "INVALID_REQUEST")
    assert answer.json()["errors"][0]["field"] == field
    assert nothing_is_stored()


def test_the_disabled_api_is_not_found(document: bytes, deployer: Deployer, settings: Any) -> None:
    settings.TPF_DEPLOYMENTS_ENABLED = False
    assert refusal(deployer.call(document)) == (404, "NOT_FOUND")
    assert refusal(deployer.call(b"", headers={"Authorization": None})) == (404, "NOT_FOUND")
    assert nothing_is_stored()


def test_only_a_valid_token_with_the_scope_deploys(document: bytes, owner: Tenant, deployer: Deployer) -> None:
    for header in (None, "", "Bearer", "Bearer wrong", "Basic YTpi", "Bearer a.b.c"):
        answer = deployer.call(document, headers={"Authorization": header})
        assert refusal(answer) == (401, "NOT_AUTHENTICATED"), header
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    for organization in (making.tenant().slug, "nobody", deployer.organization.upper()):
        assert refusal(deployer.call(document, organization=organization)) == (403, "PERMISSION_DENIED")
    others = token(owner, *(scope for scope in Scope if scope is not Scope.REGISTER))
    assert refusal(deployer.call(document, bearer=others)) == (403, "SCOPE_MISSING")
    assert nothing_is_stored()


def test_the_matrix_of_oauth_tokens(document: bytes, owner: Tenant, deployer: Deployer, issuer: OAuthIssuer) -> None:
    matrix: dict[tuple[int, str], list[dict[str, Any]]] = {
        (401, "NOT_AUTHENTICATED"): [{"expires_in": -60}, {"audience": "https://elsewhere.example"}],
        (403, "PERMISSION_DENIED"): [{"organizations": [making.tenant().slug]}, {"organizations": []}],
        (403, "SCOPE_MISSING"): [{"scopes": ["read", "tpf:deploy"]}],
    }
    for expected, variants in matrix.items():
        for members in variants:
            bearer = issuer.token(**{"organizations": [owner.slug], **members})
            assert refusal(deployer.call(document, bearer=bearer)) == expected, members
    unsigned = issuer.token(organizations=[owner.slug]).rpartition(".")[0] + "."
    assert refusal(deployer.call(document, bearer=unsigned)) == (401, "NOT_AUTHENTICATED")
    assert nothing_is_stored()
    bearer = issuer.token(subject="ci-robot", organizations=["other", owner.slug])
    deployment = Deployment.objects.get(pk=deployer.deploy_new(document, bearer=bearer))
    assert (deployment.actor, deployment.tenant) == ("oauth:ci-robot", owner)
    assert Release.objects.get().uploaded_by == "oauth:ci-robot"


def test_an_environment_selects_the_tenant(document: bytes, issuer: OAuthIssuer, settings: Any) -> None:
    settings.TPF_DEPLOYMENT_ENVIRONMENTS = {"production": "", "staging": "staging-"}
    acme, staging = making.tenant("acme"), making.tenant("staging-acme")
    caller = Deployer("acme", issuer.token(organizations=["acme"]))
    first = caller.deploy_new(document)
    second = caller.deploy_new(document, environment="staging")
    assert [Deployment.objects.get(pk=deployment_id).tenant for deployment_id in (first, second)] == [acme, staging]
    assert refusal(caller.call(document, environment="test")) == (404, "NOT_FOUND")
    ours = token(acme)
    assert caller.deploy(document, bearer=ours) == first
    assert refusal(caller.call(document, bearer=ours, environment="staging")) == (403, "PERMISSION_DENIED")
    assert caller.deploy(document, bearer=token(staging), environment="staging") == second


def test_no_organization_reaches_a_tenant_of_another_one(document: bytes, issuer: OAuthIssuer, settings: Any) -> None:
    settings.TPF_DEPLOYMENT_ENVIRONMENTS = {"production": "", "test": "st", "staging": "staging-"}
    making.tenant("staging-acme")
    for organization, environment in (("staging-acme", "production"), ("aging-acme", "test")):
        caller = Deployer(organization, issuer.token(organizations=[organization]))
        assert refusal(caller.call(document, environment=environment)) == (403, "PERMISSION_DENIED")
    assert nothing_is_stored()
    Deployer("acme", issuer.token(organizations=["acme"])).deploy_new(document, environment="staging")
