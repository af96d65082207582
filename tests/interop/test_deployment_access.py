"""The deployment API: the form of requests, the tokens that may deploy, and the tenants of environments."""

from typing import Any

import pytest

from releases.models import KEY_LENGTH, Deployment, Release
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.cases import cases
from tests.interop.deploying import Deployer, nothing_is_stored, refusal, token
from tests.oauth_issuer import OAuthIssuer

pytestmark = pytest.mark.django_db


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
def test_an_invalid_request_is_refused_with_its_field(
    document: bytes, deployer: Deployer, field: str, changes: dict[str, Any]
) -> None:
    answer = deployer.call(document, **changes)
    assert refusal(answer) == (400, "INVALID_REQUEST")
    assert answer.json()["errors"][0]["field"] == field
    assert nothing_is_stored()


def test_the_disabled_api_is_not_found(document: bytes, deployer: Deployer, settings: Any) -> None:
    settings.TPF_DEPLOYMENTS_ENABLED = False
    assert refusal(deployer.call(document)) == (404, "NOT_FOUND")
    assert refusal(deployer.call(b"", headers={"Authorization": None})) == (404, "NOT_FOUND")
    assert nothing_is_stored()


def test_a_request_without_a_valid_token_is_not_authenticated(document: bytes, deployer: Deployer) -> None:
    for header in (None, "", "Bearer", "Bearer wrong", "Basic YTpi", "Bearer a.b.c"):
        answer = deployer.call(document, headers={"Authorization": header})
        assert refusal(answer) == (401, "NOT_AUTHENTICATED"), header
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert nothing_is_stored()


def test_a_token_of_another_tenant_is_refused_whether_the_organization_exists_or_not(
    document: bytes, deployer: Deployer
) -> None:
    for organization in (making.tenant().slug, "nobody", deployer.organization.upper()):
        answer = deployer.call(document, organization=organization)
        assert refusal(answer) == (403, "PERMISSION_DENIED")
    assert nothing_is_stored()


def test_a_token_without_the_scope_is_refused(document: bytes, owner: Tenant, deployer: Deployer) -> None:
    others = [scope for scope in Scope if scope is not Scope.REGISTER]
    answer = deployer.call(document, bearer=token(owner, *others))
    assert refusal(answer) == (403, "SCOPE_MISSING")
    assert nothing_is_stored()


def test_an_oauth_token_deploys_for_its_organizations(
    document: bytes, owner: Tenant, deployer: Deployer, issuer: OAuthIssuer
) -> None:
    bearer = issuer.token(subject="ci-robot", organizations=["other", owner.slug])
    deployment = Deployment.objects.get(pk=deployer.deploy_new(document, bearer=bearer))
    assert (deployment.actor, deployment.tenant) == ("oauth:ci-robot", owner)
    assert Release.objects.get().uploaded_by == "oauth:ci-robot"


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


def test_an_environment_selects_the_tenant(document: bytes, issuer: OAuthIssuer, settings: Any) -> None:
    settings.TPF_DEPLOYMENT_ENVIRONMENTS = {"production": "", "staging": "staging-"}
    acme, staging = making.tenant("acme"), making.tenant("staging-acme")
    caller = Deployer("acme", issuer.token(organizations=["acme"]))
    first = caller.deploy_new(document)
    second = caller.deploy_new(document, environment="staging")
    assert [Deployment.objects.get(pk=each).tenant for each in (first, second)] == [acme, staging]
    assert refusal(caller.call(document, environment="test")) == (404, "NOT_FOUND")
    ours = token(acme)
    assert caller.deploy(document, bearer=ours) == first
    assert refusal(caller.call(document, bearer=ours, environment="staging")) == (403, "PERMISSION_DENIED")
    assert caller.deploy(document, bearer=token(staging), environment="staging") == second


def test_no_organization_reaches_the_tenant_of_another_one_in_another_environment(
    document: bytes, issuer: OAuthIssuer, settings: Any
) -> None:
    settings.TPF_DEPLOYMENT_ENVIRONMENTS = {"production": "", "test": "st", "staging": "staging-"}
    making.tenant("staging-acme")
    for organization, environment in (("staging-acme", "production"), ("aging-acme", "test")):
        caller = Deployer(organization, issuer.token(organizations=[organization]))
        assert refusal(caller.call(document, environment=environment)) == (403, "PERMISSION_DENIED")
    assert nothing_is_stored()
    Deployer("acme", issuer.token(organizations=["acme"])).deploy_new(document, environment="staging")
