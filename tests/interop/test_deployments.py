"""The deployment API: what it accepts and refuses, and its receipts. Verdicts are made between the requests."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.models import KEY_LENGTH, Activation, Deployment, Pipeline, Release
from tenancy.models import ApiToken, Tenant
from tenancy.roles import Scope
from tests import making
from tests.interop.deploying import (
    CONTRACT,
    MEDIA_TYPE,
    Deployer,
    described,
    published,
    refusal,
    token,
    verify_all,
)
from tests.maven_repository import MavenRepository, maven_repository
from tests.oauth_issuer import OAuthIssuer, oauth_issuer
from wire.documents.descriptor import MAX_DESCRIPTOR_BYTES

pytestmark = pytest.mark.django_db


@pytest.fixture
def repository(settings: Any) -> Iterator[MavenRepository]:
    settings.TPF_DEPLOYMENTS_ENABLED = True
    settings.TPF_DEPLOYMENT_WAIT_SECONDS = 0
    settings.STATIC_ROOT.mkdir(exist_ok=True)
    with maven_repository() as made:
        made.configure(settings)
        yield made


@pytest.fixture
def deployer(owner: Tenant) -> Deployer:
    return Deployer(owner.slug, token(owner))


@pytest.fixture
def issuer(settings: Any) -> Iterator[OAuthIssuer]:
    with oauth_issuer() as made:
        made.configure(settings)
        yield made


def nothing_is_stored() -> bool:
    return not (Pipeline.objects.exists() or Release.objects.exists() or Deployment.objects.exists())


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


# --- receipts ---


def test_a_release_is_registered_with_its_exact_bytes_and_a_receipt(
    repository: MavenRepository, owner: Tenant, deployer: Deployer
) -> None:
    document = published(repository)
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


def test_a_repeated_request_gets_the_same_receipt_whatever_happened_since(
    repository: MavenRepository, deployer: Deployer
) -> None:
    document = published(repository)
    first = deployer.deploy_new(document)
    assert deployer.deploy(document) == first
    release = Release.objects.get()
    activate(release, actor="user:ann")
    assert deployer.deploy(document) == first
    revoke(release, actor="user:ann", reason="broken")
    assert deployer.deploy(document) == first
    assert Deployment.objects.count() == Release.objects.count() == 1
    assert refusal(deployer.call(document, "another")) == (409, "RELEASE_REVOKED")
    assert Deployment.objects.count() == 1


def test_another_key_with_equal_bytes_gets_its_own_receipt(repository: MavenRepository, deployer: Deployer) -> None:
    document = published(repository)
    first = deployer.deploy_new(document)
    assert deployer.deploy(document, "another") != first
    assert deployer.deploy(document, "a third", environment="staging") != first
    assert (Deployment.objects.count(), Release.objects.count()) == (3, 1)


def test_a_key_belongs_to_one_descriptor_application_and_environment(
    repository: MavenRepository, deployer: Deployer
) -> None:
    document = published(repository)
    first = deployer.deploy_new(document)
    for other, changes in (
        (document + b" ", {}),
        (published(repository, "2.0"), {}),
        (b"{", {}),
        (document, {"application": "other"}),
        (document, {"environment": "staging"}),
    ):
        answer = deployer.call(other, **changes)
        assert refusal(answer) == (409, "DEPLOYMENT_KEY_REUSED")
        assert answer.json()["deploymentId"] == first
    assert Deployment.objects.count() == Release.objects.count() == 1


def test_tenants_have_their_own_keys(repository: MavenRepository, deployer: Deployer) -> None:
    document = published(repository)
    other = making.tenant()
    theirs = Deployer(other.slug, token(other))
    assert deployer.deploy_new(document) != theirs.deploy_new(document, application="other")
    assert {each.tenant_id for each in Deployment.objects.all()} == {each.pk for each in Tenant.objects.all()}


def test_a_release_that_was_uploaded_can_be_deployed(
    repository: MavenRepository, owner: Tenant, deployer: Deployer
) -> None:
    document = published(repository)
    release = making.upload(owner, json.loads(document), making.archive(CONTRACT, code="1.0")).release
    assert refusal(deployer.call(document)) == (409, "RELEASE_CONFLICT")  # other white space
    assert bytes(release.descriptor_document) != document
    making.verified(release)
    deployer.deploy(bytes(release.descriptor_document))


# --- verdicts ---


def test_without_a_verdict_the_request_can_be_repeated(repository: MavenRepository, deployer: Deployer) -> None:
    document = published(repository)
    for _ in range(3):
        answer = deployer.call(document)
        assert refusal(answer) == (503, "DEPLOYMENT_PENDING")
        assert int(answer.headers["Retry-After"]) > 0
    assert (Release.objects.count(), Deployment.objects.count()) == (1, 0)
    verify_all()
    deployer.deploy(document)


def test_a_rejected_release_leaves_no_receipt_and_a_retry_tries_again(
    repository: MavenRepository, deployer: Deployer
) -> None:
    data = making.archive(CONTRACT, code="1.0")
    document = described(uri="maven:com.acme:orders:1.0", digest=making.digest_of(data))
    deployer.call(document)
    [pending] = Release.objects.all()
    verify_all()
    pending.refresh_from_db()
    assert pending.status == "REJECTED"
    assert refusal(deployer.call(document)) == (503, "DEPLOYMENT_PENDING")
    repository.publish("maven:com.acme:orders:1.0", data)
    verify_all()
    deployer.deploy(document)
    assert [each.status for each in Release.objects.order_by("pk")] == ["REJECTED", "REGISTERED"]
    assert Deployment.objects.count() == 1


@pytest.mark.parametrize("uri", ["file:///srv/app.jar", "maven:com.acme:orders:1.0-SNAPSHOT"])
def test_a_location_that_other_machines_cannot_resolve_is_rejected_before_anything_is_stored(
    repository: MavenRepository, deployer: Deployer, uri: str
) -> None:
    answer = deployer.call(described(uri=uri, digest=making.digest_of(b"x")))
    assert refusal(answer) == (422, "DEPLOYMENT_REJECTED")
    [error] = answer.json()["errors"]
    assert (error["code"], error["field"]) == ("ARTIFACT_NOT_PROMOTABLE", "pipeline-release.json#artifacts[0].uri")
    assert nothing_is_stored()


def test_other_bytes_of_the_same_version_conflict(repository: MavenRepository, deployer: Deployer) -> None:
    document = published(repository)
    deployer.deploy_new(document)
    assert refusal(deployer.call(document + b" ", "another")) == (409, "RELEASE_CONFLICT")
    assert Deployment.objects.count() == 1


# --- descriptors ---


def test_an_invalid_descriptor_is_refused_with_its_findings(repository: MavenRepository, deployer: Deployer) -> None:
    for document, code in (
        (b"", "DOCUMENT_NOT_JSON"),
        (b"\xff", "DOCUMENT_NOT_UTF8"),
        (b"[]", "DOCUMENT_NOT_OBJECT"),
        (published(repository, more=1), "DESCRIPTOR_UNKNOWN_MEMBER"),
        (published(repository, digest="sha256:ABC"), "ARTIFACT_DIGEST_MALFORMED"),
    ):
        answer = deployer.call(document)
        assert refusal(answer) == (400, "DESCRIPTOR_INVALID")
        assert code in [error["code"] for error in answer.json()["errors"]]
    assert nothing_is_stored()


def test_only_the_newer_profile_can_be_deployed(repository: MavenRepository, deployer: Deployer) -> None:
    older = making.descriptor(CONTRACT, making.archive(CONTRACT))
    assert refusal(deployer.call(json.dumps(older).encode())) == (400, "DESCRIPTOR_PROFILE_UNSUPPORTED")
    assert nothing_is_stored()


def test_a_descriptor_has_at_most_a_mebibyte(repository: MavenRepository, deployer: Deployer) -> None:
    document = published(repository)
    largest = document + b" " * (MAX_DESCRIPTOR_BYTES - len(document))
    assert refusal(deployer.call(largest + b" ")) == (413, "PAYLOAD_TOO_LARGE")
    assert nothing_is_stored()
    deployer.deploy_new(largest)


# --- applications ---


def test_a_pipeline_belongs_to_the_application_of_its_first_deployment(
    repository: MavenRepository, deployer: Deployer
) -> None:
    deployer.deploy_new(published(repository), "k1")
    assert refusal(deployer.call(published(repository, "2.0"), "k2", application="other")) == (
        409,
        "PIPELINE_OF_OTHER_APPLICATION",
    )
    assert (Release.objects.count(), Deployment.objects.count()) == (1, 1)
    deployer.deploy_new(published(repository, "2.0"), "k2")
    assert Pipeline.objects.get().application == "orders"


def test_the_first_deployment_assigns_a_pipeline_that_exists(
    repository: MavenRepository, owner: Tenant, deployer: Deployer
) -> None:
    pipeline = making.registered(owner, "0.9").pipeline
    assert pipeline.application == ""
    deployer.deploy_new(published(repository))
    pipeline.refresh_from_db()
    assert pipeline.application == "orders"


def test_of_two_deployments_under_different_applications_the_second_registers_nothing(
    repository: MavenRepository, owner: Tenant, deployer: Deployer
) -> None:
    making.registered(owner, "0.9")

    def assign_meanwhile() -> None:
        """Assign the pipeline after the request has read that it belongs to no application."""
        Pipeline.objects.update(application="other")

    with meanwhile('FROM "releases_pipeline"', assign_meanwhile):
        answer = deployer.call(published(repository))
    assert refusal(answer) == (409, "PIPELINE_OF_OTHER_APPLICATION")
    assert (Pipeline.objects.get().application, Release.objects.count()) == ("other", 1)


def test_of_two_requests_with_one_key_the_second_gets_the_receipt_of_the_first(
    repository: MavenRepository, deployer: Deployer
) -> None:
    document, made = published(repository), list[str]()
    deployer.deploy_new(document, "first")
    looked_up = 'FROM "releases_deployment"'
    with meanwhile(looked_up, lambda: made.append(deployer.deploy(document))):
        assert deployer.deploy(document) == made[0]
    with meanwhile(looked_up, lambda: deployer.deploy(document, "k", environment="staging")):
        assert refusal(deployer.call(document, "k")) == (409, "DEPLOYMENT_KEY_REUSED")
    assert Deployment.objects.count() == 3


# --- the form of requests ---


@pytest.mark.parametrize("key", [None, "", "  ", "x" * (KEY_LENGTH + 1), "a\tb", "a\x7fb", "a\u0085b"])
def test_a_printable_key_of_bounded_length_is_required(
    repository: MavenRepository, deployer: Deployer, key: str | None
) -> None:
    answer = deployer.call(published(repository), headers={"Idempotency-Key": key})
    assert refusal(answer) == (400, "INVALID_REQUEST")
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    assert nothing_is_stored()


def test_the_longest_key(repository: MavenRepository, deployer: Deployer) -> None:
    deployer.deploy_new(published(repository), "x" * KEY_LENGTH)


@pytest.mark.parametrize("mode", [None, "", "MANAGED", "customer_managed"])
def test_the_mode_is_required(repository: MavenRepository, deployer: Deployer, mode: str | None) -> None:
    answer = deployer.call(published(repository), headers={"X-TPF-Deployment-Mode": mode})
    assert refusal(answer) == (400, "INVALID_REQUEST")
    assert answer.json()["errors"][0]["field"] == "X-TPF-Deployment-Mode"
    assert nothing_is_stored()


@pytest.mark.parametrize(
    "media_type", ["", "application/json", "application/*", "*/*", "text/plain", "multipart/form-data"]
)
def test_other_media_types_are_refused(repository: MavenRepository, deployer: Deployer, media_type: str) -> None:
    assert refusal(deployer.call(published(repository), media_type=media_type)) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert nothing_is_stored()


def test_parameters_of_the_media_type_do_not_matter(repository: MavenRepository, deployer: Deployer) -> None:
    deployer.deploy_new(published(repository), media_type=f"{MEDIA_TYPE.upper()}; charset=utf-8")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_only_post_is_allowed(repository: MavenRepository, deployer: Deployer, method: str) -> None:
    assert refusal(deployer.call(b"", method=method)) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("part", ["application", "environment"])
def test_names_in_the_path_are_identifiers(repository: MavenRepository, deployer: Deployer, part: str) -> None:
    for value in (" a", "a ", ".", "..", "a\u200bb", "a\x00b", "a\nb", "e\u0301", "x" * 501):
        answer = deployer.call(published(repository), **{part: value})
        assert refusal(answer) == (400, "INVALID_REQUEST")
        assert answer.json()["errors"][0]["field"] == part
    assert nothing_is_stored()


@pytest.mark.parametrize("part", ["organization", "application", "environment"])
def test_a_name_with_a_slash_is_not_found(repository: MavenRepository, deployer: Deployer, part: str) -> None:
    assert refusal(deployer.call(published(repository), **{part: "a/b"})) == (404, "NOT_FOUND")
    assert nothing_is_stored()


# --- access ---


def test_the_disabled_api_is_not_found(repository: MavenRepository, deployer: Deployer, settings: Any) -> None:
    settings.TPF_DEPLOYMENTS_ENABLED = False
    assert refusal(deployer.call(published(repository))) == (404, "NOT_FOUND")
    assert refusal(deployer.call(b"", headers={"Authorization": None})) == (404, "NOT_FOUND")
    assert nothing_is_stored()


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Bearer a b", "Basic YTpi", "Bearer a.b.c"]
)
@pytest.mark.parametrize("oauth", [False, True])
def test_a_request_without_a_valid_token_is_not_authenticated(
    repository: MavenRepository, deployer: Deployer, request: pytest.FixtureRequest, header: str | None, oauth: bool
) -> None:
    if oauth:
        request.getfixturevalue("issuer")
    answer = deployer.call(published(repository), headers={"Authorization": header})
    assert refusal(answer) == (401, "NOT_AUTHENTICATED")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert nothing_is_stored()


def test_a_token_that_ended_is_not_authenticated(repository: MavenRepository, deployer: Deployer) -> None:
    ApiToken.objects.all().delete()
    assert refusal(deployer.call(published(repository))) == (401, "NOT_AUTHENTICATED")


def test_a_token_of_another_tenant_is_refused_whether_the_organization_exists_or_not(
    repository: MavenRepository, deployer: Deployer
) -> None:
    for organization in (making.tenant().slug, "nobody", "a\x00b", deployer.organization.upper()):
        answer = deployer.call(published(repository), organization=organization)
        assert refusal(answer) == (403, "PERMISSION_DENIED")
    assert nothing_is_stored()


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.REGISTER])
def test_a_token_without_the_scope_is_refused(
    repository: MavenRepository, owner: Tenant, deployer: Deployer, scope: Scope
) -> None:
    answer = deployer.call(published(repository), bearer=token(owner, scope))
    assert refusal(answer) == (403, "SCOPE_MISSING")
    assert nothing_is_stored()


def test_the_body_of_a_refused_request_is_not_read(repository: MavenRepository, deployer: Deployer) -> None:
    too_large = b" " * (MAX_DESCRIPTOR_BYTES + 1)
    assert refusal(deployer.call(too_large, bearer="wrong"))[0] == 401
    assert refusal(deployer.call(too_large, organization="other"))[0] == 403
    assert refusal(deployer.call(too_large, media_type="text/plain"))[0] == 415
    assert refusal(deployer.call(too_large))[0] == 413


def test_an_oauth_token_deploys_for_its_organizations(
    repository: MavenRepository, owner: Tenant, deployer: Deployer, issuer: OAuthIssuer
) -> None:
    bearer = issuer.token(subject="ci-robot", organizations=["other", owner.slug])
    document = published(repository)
    deployment = Deployment.objects.get(pk=deployer.deploy_new(document, bearer=bearer))
    assert (deployment.actor, deployment.tenant) == ("oauth:ci-robot", owner)
    assert Release.objects.get().uploaded_by == "oauth:ci-robot"
    assert deployer.deploy(document) == str(deployment.pk)  # with an API token


def test_scopes_of_the_issuer_can_be_mapped(
    repository: MavenRepository, owner: Tenant, deployer: Deployer, issuer: OAuthIssuer, settings: Any
) -> None:
    settings.OAUTH_SCOPES = {"tpf:deploy": [Scope.REGISTER.value]}
    bearer = issuer.token(organizations=[owner.slug], scopes=["tpf:deploy"])
    deployer.deploy_new(published(repository), bearer=bearer)


def test_the_matrix_of_oauth_tokens(
    repository: MavenRepository, owner: Tenant, deployer: Deployer, issuer: OAuthIssuer
) -> None:
    other = making.tenant()
    matrix: list[tuple[tuple[int, str], dict[str, Any]]] = [
        ((401, "NOT_AUTHENTICATED"), {"expires_in": -60}),
        ((401, "NOT_AUTHENTICATED"), {"audience": "https://elsewhere.example"}),
        ((401, "NOT_AUTHENTICATED"), {"iss": "https://elsewhere.example"}),
        ((401, "NOT_AUTHENTICATED"), {"headers": {"kid": "unknown"}}),
        ((403, "PERMISSION_DENIED"), {"organizations": [other.slug]}),
        ((403, "PERMISSION_DENIED"), {"organizations": []}),
        ((403, "SCOPE_MISSING"), {"scopes": []}),
        ((403, "SCOPE_MISSING"), {"scopes": ["read", "releases:activate", "tpf:deploy"]}),
    ]
    for expected, members in matrix:
        bearer = issuer.token(**{"organizations": [owner.slug], **members})
        assert refusal(deployer.call(published(repository), bearer=bearer)) == expected, members
    unsigned = issuer.token(organizations=[owner.slug]).rpartition(".")[0] + "."
    assert refusal(deployer.call(published(repository), bearer=unsigned)) == (401, "NOT_AUTHENTICATED")
    assert nothing_is_stored()


def test_an_organization_without_a_tenant_is_not_found(
    repository: MavenRepository, deployer: Deployer, issuer: OAuthIssuer
) -> None:
    for organization in ("nobody", "a\x00b", "Upper Case"):
        bearer = issuer.token(organizations=[organization])
        answer = deployer.call(published(repository), organization=organization, bearer=bearer)
        assert refusal(answer) == (404, "NOT_FOUND")
    assert nothing_is_stored()


def test_if_the_issuers_keys_are_unavailable_the_request_can_be_repeated(
    repository: MavenRepository, owner: Tenant, deployer: Deployer, issuer: OAuthIssuer
) -> None:
    issuer.is_down = True
    bearer = issuer.token(organizations=[owner.slug])
    assert refusal(deployer.call(published(repository), bearer=bearer)) == (503, "ISSUER_UNAVAILABLE")


# --- environments ---


def test_an_environment_selects_the_tenant(repository: MavenRepository, issuer: OAuthIssuer, settings: Any) -> None:
    settings.TPF_DEPLOYMENT_ENVIRONMENTS = {"production": "", "staging": "staging-"}
    acme, staging = making.tenant("acme"), making.tenant("staging-acme")
    document = published(repository)
    caller = Deployer("acme", issuer.token(organizations=["acme"]))
    first = caller.deploy_new(document)
    second = caller.deploy_new(document, environment="staging")
    assert [Deployment.objects.get(pk=each).tenant for each in (first, second)] == [acme, staging]
    assert refusal(caller.call(document, environment="test")) == (404, "NOT_FOUND")
    assert refusal(caller.call(document, environment="Production")) == (404, "NOT_FOUND")
    ours = token(acme)
    assert caller.deploy(document, bearer=ours) == first
    assert refusal(caller.call(document, bearer=ours, environment="staging")) == (403, "PERMISSION_DENIED")
    assert caller.deploy(document, bearer=token(staging), environment="staging") == second


def test_no_organization_reaches_the_tenant_of_another_one_in_another_environment(
    repository: MavenRepository, issuer: OAuthIssuer, settings: Any
) -> None:
    settings.TPF_DEPLOYMENT_ENVIRONMENTS = {"production": "", "test": "st", "staging": "staging-"}
    making.tenant("staging-acme")
    document = published(repository)
    for organization, environment in (("staging-acme", "production"), ("aging-acme", "test")):
        caller = Deployer(organization, issuer.token(organizations=[organization]))
        assert refusal(caller.call(document, environment=environment)) == (403, "PERMISSION_DENIED")
    assert nothing_is_stored()
    Deployer("acme", issuer.token(organizations=["acme"])).deploy_new(document, environment="staging")


def test_the_api_is_not_in_the_openapi_document(repository: MavenRepository) -> None:
    document = Client().get("/api/schema/").content.decode()
    assert "/api/v1/tenants/" in document
    assert "organizations" not in document


def test_receipts_have_unique_ids(repository: MavenRepository, deployer: Deployer) -> None:
    document = published(repository)
    deployer.deploy_new(document, "first")
    made = {deployer.deploy(document, f"key-{number}") for number in range(5)}
    assert {uuid.UUID(each).version for each in made} == {4}
    assert len(made) == 5
