"""The deployment API: the form of requests, the tokens that may deploy, and the tenants of environments."""

from typing import Any

import pytest
from django.test import Client

from releases.models import KEY_LENGTH, Deployment, Release
from tenancy.models import ApiToken, Tenant
from tenancy.roles import Scope
from tests import making
from tests.cases import cases
from tests.interop.deploying import MEDIA_TYPE, Deployer, nothing_is_stored, published, refusal, token
from tests.maven_repository import MavenRepository
from tests.oauth_issuer import OAuthIssuer
from wire.documents.descriptor import MAX_DESCRIPTOR_BYTES

pytestmark = pytest.mark.django_db


# --- the form of requests ---


BAD_KEYS = [None, "", "  ", "x" * (KEY_LENGTH + 1), "a\tb", "a\x7fb", "a\u0085b"]
BAD_NAMES = [" a", "a ", ".", "..", "a\u200bb", "a\x00b", "a\nb", "e\u0301", "x" * 501]


@cases(
    ("field", "changes"),
    [
        *(("Idempotency-Key", {"headers": {"Idempotency-Key": key}}) for key in BAD_KEYS),
        *(
            ("X-TPF-Deployment-Mode", {"headers": {"X-TPF-Deployment-Mode": mode}})
            for mode in (None, "", "MANAGED", "customer_managed")
        ),
        *((part, {part: name}) for part in ("application", "environment") for name in BAD_NAMES),
    ],
)
def test_an_invalid_request_is_refused_with_its_field(
    repository: MavenRepository, deployer: Deployer, field: str, changes: dict[str, Any]
) -> None:
    answer = deployer.call(published(repository), **changes)
    assert refusal(answer) == (400, "INVALID_REQUEST")
    assert answer.json()["errors"][0]["field"] == field
    assert nothing_is_stored()


@cases("media_type", ["", "application/json", "application/*", "*/*", "text/plain", "multipart/form-data"])
def test_other_media_types_are_refused(repository: MavenRepository, deployer: Deployer, media_type: str) -> None:
    assert refusal(deployer.call(published(repository), media_type=media_type)) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert nothing_is_stored()


def test_the_longest_key_and_parameters_of_the_media_type_are_accepted(
    repository: MavenRepository, deployer: Deployer
) -> None:
    media_type = f"{MEDIA_TYPE.upper()}; charset=utf-8"
    deployer.deploy_new(published(repository), "x" * KEY_LENGTH, media_type=media_type)


def test_only_post_and_names_without_a_slash_are_found(repository: MavenRepository, deployer: Deployer) -> None:
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        assert refusal(deployer.call(b"", method=method)) == (405, "METHOD_NOT_ALLOWED")
    for part in ("organization", "application", "environment"):
        assert refusal(deployer.call(published(repository), **{part: "a/b"})) == (404, "NOT_FOUND")
    assert nothing_is_stored()


# --- access ---


def test_the_disabled_api_is_not_found(repository: MavenRepository, deployer: Deployer, settings: Any) -> None:
    settings.TPF_DEPLOYMENTS_ENABLED = False
    assert refusal(deployer.call(published(repository))) == (404, "NOT_FOUND")
    assert refusal(deployer.call(b"", headers={"Authorization": None})) == (404, "NOT_FOUND")
    assert nothing_is_stored()


HEADERS = [None, "", "Bearer", "Bearer ", "Bearer wrong", "Bearer a b", "Basic YTpi", "Bearer a.b.c"]


def assert_not_authenticated(repository: MavenRepository, deployer: Deployer) -> None:
    for header in HEADERS:
        answer = deployer.call(published(repository), headers={"Authorization": header})
        assert refusal(answer) == (401, "NOT_AUTHENTICATED"), header
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert nothing_is_stored()


def test_a_request_without_a_valid_token_is_not_authenticated(repository: MavenRepository, deployer: Deployer) -> None:
    assert_not_authenticated(repository, deployer)
    ApiToken.objects.all().delete()
    assert refusal(deployer.call(published(repository))) == (401, "NOT_AUTHENTICATED")


def test_with_an_issuer_it_is_not_either(repository: MavenRepository, deployer: Deployer, issuer: OAuthIssuer) -> None:
    assert_not_authenticated(repository, deployer)


def test_a_token_of_another_tenant_is_refused_whether_the_organization_exists_or_not(
    repository: MavenRepository, deployer: Deployer
) -> None:
    for organization in (making.tenant().slug, "nobody", "a\x00b", deployer.organization.upper()):
        answer = deployer.call(published(repository), organization=organization)
        assert refusal(answer) == (403, "PERMISSION_DENIED")
    assert nothing_is_stored()


@cases("scope", [scope for scope in Scope if scope is not Scope.REGISTER])
def test_a_token_without_the_scope_is_refused(
    repository: MavenRepository, owner: Tenant, deployer: Deployer, scope: Scope
) -> None:
    answer = deployer.call(published(repository), bearer=token(owner, scope))
    assert refusal(answer) == (403, "SCOPE_MISSING")
    assert nothing_is_stored()


def test_the_body_of_a_refused_request_is_not_read(repository: MavenRepository, deployer: Deployer) -> None:
    too_large = b" " * (MAX_DESCRIPTOR_BYTES + 1)
    refused = {401: {"bearer": "wrong"}, 403: {"organization": "other"}, 415: {"media_type": "text/plain"}, 413: {}}
    for status, changes in refused.items():
        assert refusal(deployer.call(too_large, **changes))[0] == status


def test_an_oauth_token_deploys_for_its_organizations_with_the_scope_or_one_that_maps_to_it(
    repository: MavenRepository, owner: Tenant, deployer: Deployer, issuer: OAuthIssuer, settings: Any
) -> None:
    bearer = issuer.token(subject="ci-robot", organizations=["other", owner.slug])
    document = published(repository)
    deployment = Deployment.objects.get(pk=deployer.deploy_new(document, bearer=bearer))
    assert (deployment.actor, deployment.tenant) == ("oauth:ci-robot", owner)
    assert Release.objects.get().uploaded_by == "oauth:ci-robot"
    assert deployer.deploy(document) == str(deployment.pk)  # with an API token
    settings.OAUTH_SCOPES = {"tpf:deploy": [Scope.REGISTER.value]}
    bearer = issuer.token(organizations=[owner.slug], scopes=["tpf:deploy"])
    assert deployer.deploy(document, bearer=bearer) == str(deployment.pk)


def test_the_matrix_of_oauth_tokens(
    repository: MavenRepository, owner: Tenant, deployer: Deployer, issuer: OAuthIssuer
) -> None:
    other = making.tenant()
    elsewhere = "https://elsewhere.example"
    matrix: dict[tuple[int, str], list[dict[str, Any]]] = {
        (401, "NOT_AUTHENTICATED"): [
            *({"expires_in": -60}, {"audience": elsewhere}, {"iss": elsewhere}, {"headers": {"kid": "unknown"}})
        ],
        (403, "PERMISSION_DENIED"): [{"organizations": [other.slug]}, {"organizations": []}],
        (403, "SCOPE_MISSING"): [{"scopes": []}, {"scopes": ["read", "releases:activate", "tpf:deploy"]}],
    }
    for expected, variants in matrix.items():
        for members in variants:
            bearer = issuer.token(**{"organizations": [owner.slug], **members})
            assert refusal(deployer.call(published(repository), bearer=bearer)) == expected, members
    unsigned = issuer.token(organizations=[owner.slug]).rpartition(".")[0] + "."
    assert refusal(deployer.call(published(repository), bearer=unsigned)) == (401, "NOT_AUTHENTICATED")
    assert nothing_is_stored()


def test_an_organization_without_a_tenant_is_not_found(
    repository: MavenRepository, owner: Tenant, deployer: Deployer, issuer: OAuthIssuer
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
