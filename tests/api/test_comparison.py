"""REST: the comparison of two releases, and that a caller meets what it predicts."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from releases.activation.activation import activate
from releases.activation.comparison import MAX_SBOM_BYTES
from releases.activation.revocation import revoke
from releases.models import Attachment, Release
from releases.registration import attachments
from tenancy.roles import Scope
from tests import making, signing
from tests.api.tenant_api import TenantApi, refused
from tests.api.test_responses import conforms

pytestmark = pytest.mark.django_db
COMPARISON = "pipelines/{pipeline_id}/comparison"
ID = {"name": "id", "type": {"kind": "scalar", "id": "string"}}
PRICE = {"name": "price", "type": {"kind": "scalar", "id": "decimal"}}


def order(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"Order": {"definition": {"id": "Order", "kind": "record", "fields": list(fields)}}}


@pytest.fixture
def first(ours: TenantApi) -> Release:
    """The active release. Its input is an order without a price."""
    release = making.active(ours.tenant, "1.1", canonicalTypes=order(ID))
    making.worker(release, "worker-1.1")
    return release


@pytest.fixture
def second(first: Release, ours: TenantApi) -> Release:
    """A release that requires a price."""
    return making.registered(ours.tenant, "2.0", canonicalTypes=order(ID, PRICE))


def compared(ours: TenantApi, query: str = "") -> dict[str, Any]:
    response = ours.get(COMPARISON + query)
    assert response.status_code == 200, response.content
    found: dict[str, Any] = response.json()
    return found


def submit(ours: TenantApi, key: str, value: dict[str, Any]) -> Any:
    return ours.post("executions", {"pipelineId": making.PIPELINE, "input": value, "idempotencyKey": key})


def test_a_new_required_field_is_predicted_and_old_callers_are_refused(ours: TenantApi, second: Release) -> None:
    assert submit(ours, "before", {"id": "a"}).status_code == 202
    found = compared(ours, "?to=2.0")
    assert found["breaking"] is True
    assert found["differences"][0] == {
        "area": "type",
        "kind": "added",
        "impact": "breaking-for-callers",
        "path": 'steps["Validate"].input.price',
        "before": "",
        "after": "decimal",
        "reason": "Inputs without this field were accepted, and are refused.",
    }
    activate(second, actor="user:eva")
    making.worker(second, "worker-2.0")
    problem = refused(submit(ours, "after", {"id": "a"}), 422, "INPUT_INVALID")
    assert [error["field"] for error in problem["errors"]] == ["input.price"]
    assert submit(ours, "new", {"id": "a", "price": "1.50"}).status_code == 202


def test_the_response_conforms_to_the_document(ours: TenantApi, second: Release) -> None:
    document = ours.call("GET", "/api/schema/?format=json").json()
    response = ours.call("GET", ours.url(COMPARISON))
    found = conforms(document, "GET", COMPARISON, response)
    assert (found["fromReleaseVersion"], found["toReleaseVersion"]) == ("1.1", "2.0")
    assert found["toContractVersion"] == second.contract_version


def test_the_active_release_is_compared_with_the_newest_one_by_default(ours: TenantApi, second: Release) -> None:
    assert compared(ours) == compared(ours, "?from=1.1&to=2.0")
    back = compared(ours, "?from=2.0&to=1.1")
    assert (back["fromReleaseVersion"], back["toReleaseVersion"]) == ("2.0", "1.1")
    assert [each["kind"] for each in back["differences"] if each["path"].endswith("input.price")] == ["removed"]


def test_equal_releases_have_no_differences(ours: TenantApi, first: Release) -> None:
    assert compared(ours, "?from=1.1&to=1.1")["differences"] == []


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("?to=9.9", 404, "RELEASE_UNKNOWN"),
        ("?from=9.9&to=2.0", 404, "RELEASE_UNKNOWN"),
        ("?to=a%00b", 404, "RELEASE_UNKNOWN"),
        ("?to=a/b", 404, "RELEASE_UNKNOWN"),
        ("?to=", 400, "INVALID_REQUEST"),
        ("?until=2.0", 400, "INVALID_REQUEST"),
    ],
)
def test_wrong_parameters_are_refused(ours: TenantApi, second: Release, query: str, status: int, code: str) -> None:
    refused(ours.get(COMPARISON + query), status, code)


def test_a_release_must_be_named_if_none_is_active(ours: TenantApi, second: Release, first: Release) -> None:
    revoke(first, actor="user:eva", reason="wrong prices")
    refused(ours.get(f"{COMPARISON}?to=2.0"), 409, "ACTIVE_RELEASE_REVOKED")
    assert compared(ours, "?from=1.1&to=2.0")["breaking"] is True


def test_reading_is_enough_and_needed(ours: TenantApi, second: Release) -> None:
    assert ours.get(COMPARISON, token=ours.token(Scope.READ)).status_code == 200
    others = ours.token(*(scope for scope in Scope if scope is not Scope.READ))
    assert refused(ours.get(COMPARISON, token=others), 403, "SCOPE_MISSING")["scope"] == "read"


def test_releases_of_another_tenant_are_unknown(ours: TenantApi, theirs: TenantApi, second: Release) -> None:
    making.registered(theirs.tenant, "7.0")
    refused(ours.get(f"{COMPARISON}?to=7.0"), 404, "RELEASE_UNKNOWN")
    refused(ours.call("GET", theirs.url(COMPARISON)), 404, "NOT_FOUND")


# --- what is attached to releases ---


def sbom(**versions: str) -> dict[str, Any]:
    components = [
        {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}
        for name, version in versions.items()
    ]
    return {**signing.cyclone([]), "components": components}


def spdx(**versions: str) -> dict[str, Any]:
    packages = [
        {
            "SPDXID": f"SPDXRef-{name}",
            "name": name,
            "versionInfo": version,
            "externalRefs": [
                {
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": f"pkg:pypi/{name}@{version}",
                }
            ],
        }
        for name, version in versions.items()
    ]
    root = {"SPDXID": "SPDXRef-app", "name": "app", "versionInfo": "9"}
    return {
        "spdxVersion": "SPDX-2.3",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "app",
        "documentDescribes": ["SPDXRef-app"],
        "packages": [root, *packages],
    }


def attach(release: Release, *contents: bytes) -> list[Attachment]:
    return attachments.attach(release, list(contents), actor="user:eva")


def found_in(ours: TenantApi, area: str) -> list[tuple[str, ...]]:
    differences = compared(ours)["differences"]
    return [(each["kind"], each["path"], each["before"], each["after"]) for each in differences if each["area"] == area]


def test_packages_of_both_formats_are_compared(ours: TenantApi, first: Release, second: Release) -> None:
    attach(first, written(sbom(django="5.2.0", requests="2.0")))
    attach(second, written(spdx(django="5.2.1", urllib3="2.1")))
    assert found_in(ours, "sbom") == [
        ("changed", 'packages["pkg:pypi/django"]', "5.2.0", "5.2.1"),
        ("removed", 'packages["pkg:pypi/requests"]', "2.0", ""),
        ("added", 'packages["pkg:pypi/urllib3"]', "", "2.1"),
    ]


def test_large_boms_are_not_read(ours: TenantApi, first: Release, second: Release) -> None:
    attach(first, written(sbom(django="5.2.0")))
    half = "x" * (MAX_SBOM_BYTES // 2)
    attach(second, written({**sbom(django="1"), "x": half}), written({**sbom(django="2"), "x": half}))
    assert found_in(ours, "sbom") == [("changed", "packages", "known", "not known")]


def test_signers_and_provenance_are_compared(ours: TenantApi, first: Release, second: Release) -> None:
    key = signing.trusted(ours.tenant, "ci")
    attach(first, signing.envelope(first.descriptor, "ci"))
    attach(second, signing.envelope(second.descriptor, "ci", "stranger"))
    stranger = f"{signing.key_id('stranger')} (KEY_UNKNOWN)"
    assert found_in(ours, "signature") == [("added", "signatures", "", stranger)]
    assert key.name == "ci"
    for release, commit in ((first, "c0ffee"), (second, "decade")):
        made = signing.statement(release.artifacts.get().digest)
        made["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"] = {"gitCommit": commit}
        attach(release, written(made))
    assert found_in(ours, "provenance") == [
        ("changed", "provenance.commit", "gitCommit:c0ffee", "gitCommit:decade"),
    ]


def test_the_number_of_queries_does_not_depend_on_what_is_attached(
    ours: TenantApi, first: Release, second: Release
) -> None:
    compared(ours)
    with CaptureQueriesContext(connection) as few:
        compared(ours)
    attach(first, *(written(sbom(django=str(number))) for number in range(8)))
    attach(second, *(written(spdx(django=str(number))) for number in range(8)))
    with CaptureQueriesContext(connection) as many:
        compared(ours)
    assert len(many) <= len(few) + 2, "one query for the contents of the SBOMs of each release"


def written(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()
