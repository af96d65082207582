"""REST: the comparison of two releases and the pre-flight of one, and that a caller meets what they predict."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from releases.activation import policy
from releases.activation.activation import activate
from releases.activation.comparison import MAX_SBOM_BYTES
from releases.activation.revocation import revoke
from releases.models import Attachment, Release
from releases.registration import attachments
from tests import making, signing
from tests.api.tenant_api import TenantApi, refused
from tests.cases import cases

pytestmark = pytest.mark.django_db
PIPELINE = "pipelines/{pipeline_id}"
COMPARISON, PREFLIGHT = f"{PIPELINE}/comparison", f"{PIPELINE}/releases/2.0/preflight"
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


def read(ours: TenantApi, path: str) -> dict[str, Any]:
    response = ours.get(path)
    assert response.status_code == 200, response.content
    found: dict[str, Any] = response.json()
    return found


def submit(ours: TenantApi, key: str, value: dict[str, Any]) -> Any:
    return ours.post("executions", {"pipelineId": making.PIPELINE, "input": value, "idempotencyKey": key})


def test_a_new_required_field_is_predicted_and_old_callers_are_refused(ours: TenantApi, second: Release) -> None:
    assert submit(ours, "before", {"id": "a"}).status_code == 202
    found = read(ours, f"{COMPARISON}?to=2.0")
    assert (found["breaking"], found["toContractVersion"]) == (True, second.contract_version)
    assert found["differences"][0] == {
        "area": "type",
        "kind": "added",
        "impact": "breaking-for-callers",
        "path": 'steps["Validate"].input.price',
        "before": "",
        "after": "decimal",
        "reason": "Inputs without this field were accepted, and are refused.",
    }
    assert read(ours, COMPARISON) == read(ours, f"{COMPARISON}?from=1.1&to=2.0"), "active and newest by default"
    back = read(ours, f"{COMPARISON}?from=2.0&to=1.1")
    assert (back["fromReleaseVersion"], back["toReleaseVersion"]) == ("2.0", "1.1")
    assert [each["kind"] for each in back["differences"] if each["path"].endswith("input.price")] == ["removed"]
    assert read(ours, f"{COMPARISON}?from=1.1&to=1.1")["differences"] == []
    activate(second, actor="user:eva")
    making.worker(second, "worker-2.0")
    problem = refused(submit(ours, "after", {"id": "a"}), 422, "INPUT_INVALID")
    assert [error["field"] for error in problem["errors"]] == ["input.price"]
    assert submit(ours, "new", {"id": "a", "price": "1.50"}).status_code == 202


@cases(
    ("query", "status", "code"),
    [
        ("?to=9.9", 404, "RELEASE_UNKNOWN"),
        ("?to=7.0", 404, "RELEASE_UNKNOWN"),
        ("?from=9.9&to=2.0", 404, "RELEASE_UNKNOWN"),
        ("?to=a%00b", 404, "RELEASE_UNKNOWN"),
        ("?to=", 400, "INVALID_REQUEST"),
        ("?until=2.0", 400, "INVALID_REQUEST"),
    ],
)
def test_wrong_parameters_are_refused(
    ours: TenantApi, theirs: TenantApi, second: Release, query: str, status: int, code: str
) -> None:
    making.registered(theirs.tenant, "7.0")
    refused(ours.get(COMPARISON + query), status, code)


def test_a_release_must_be_named_if_none_is_active(ours: TenantApi, second: Release, first: Release) -> None:
    revoke(first, actor="user:eva", reason="wrong prices")
    refused(ours.get(f"{COMPARISON}?to=2.0"), 409, "ACTIVE_RELEASE_REVOKED")
    assert read(ours, f"{COMPARISON}?from=1.1&to=2.0")["breaking"] is True


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
    names = {"SPDXID": "SPDXRef-DOCUMENT", "name": "app", "documentDescribes": ["SPDXRef-app"]}
    root = {"SPDXID": "SPDXRef-app", "name": "app", "versionInfo": "9"}
    return {"spdxVersion": "SPDX-2.3", **names, "packages": [root, *packages]}


def written(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def attach(release: Release, *contents: bytes) -> list[Attachment]:
    return attachments.attach(release, list(contents), actor="user:eva")


def found_in(ours: TenantApi, area: str) -> list[tuple[str, ...]]:
    differences = read(ours, COMPARISON)["differences"]
    return [(each["kind"], each["path"], each["before"], each["after"]) for each in differences if each["area"] == area]


def test_packages_of_both_formats_are_compared(ours: TenantApi, first: Release, second: Release) -> None:
    attach(first, written(sbom(django="5.2.0", requests="2.0")))
    attach(second, written(spdx(django="5.2.1", urllib3="2.1")))
    assert found_in(ours, "sbom") == [
        ("changed", 'packages["pkg:pypi/django"]', "5.2.0", "5.2.1"),
        ("removed", 'packages["pkg:pypi/requests"]', "2.0", ""),
        ("added", 'packages["pkg:pypi/urllib3"]', "", "2.1"),
    ]
    half = "x" * (MAX_SBOM_BYTES // 2)
    attach(second, *(written({**sbom(django=version), "x": half}) for version in "12"))
    assert found_in(ours, "sbom") == [("changed", "packages", "known", "not known")], "too large to be read"


def test_signers_and_provenance_are_compared(ours: TenantApi, first: Release, second: Release) -> None:
    signing.trusted(ours.tenant, "ci")
    attach(first, signing.envelope(first.descriptor, "ci"))
    attach(second, signing.envelope(second.descriptor, "ci", "stranger"))
    stranger = f"{signing.key_id('stranger')} (KEY_UNKNOWN)"
    assert found_in(ours, "signature") == [("added", "signatures", "", stranger)]
    for release, commit in ((first, "c0ffee"), (second, "decade")):
        made = signing.statement(release.artifacts.get().digest)
        made["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"] = {"gitCommit": commit}
        attach(release, written(made))
    assert found_in(ours, "provenance") == [
        ("changed", "provenance.commit", "gitCommit:c0ffee", "gitCommit:decade"),
    ]


def test_the_number_of_queries_depends_on_nothing_that_grows(ours: TenantApi, first: Release, second: Release) -> None:
    submit(ours, "first", {"id": "a"})

    def count(path: str) -> int:
        read(ours, path)
        with CaptureQueriesContext(connection) as caught:
            read(ours, path)
        return len(caught)

    few = [count(path) for path in (COMPARISON, PREFLIGHT)]
    attach(first, *(written(sbom(django=str(number))) for number in range(8)))
    attach(second, *(written(spdx(django=str(number))) for number in range(8)))
    assert count(COMPARISON) <= few[0] + 2, "one query for the contents of the SBOMs of each release"
    before = count(PREFLIGHT)
    making.worker(second, "w1")
    making.worker(second, "w2")
    assert count(PREFLIGHT) == before < 60


# --- the pre-flight ---


def test_what_a_preflight_says_is_what_the_activation_and_the_callers_meet(
    ours: TenantApi, theirs: TenantApi, second: Release
) -> None:
    policy.change(second.pipeline, {"workerGate": "require"}, actor="user:eva")
    sent = submit(ours, "before", {"id": "very secret"}).json()
    submit(theirs, "k", {})
    found = read(ours, PREFLIGHT)
    assert (found["releaseVersion"], found["activeReleaseVersion"], found["kind"]) == ("2.0", "1.1", "activation")
    assert (found["allowed"], [each["code"] for each in found["refusals"]]) == (False, ["WORKER_REQUIRED"])
    assert [(gate["name"], gate["verdict"]) for gate in found["gates"]] == [("worker", "unmet")]
    assert [each["concern"] for each in found["warnings"]] == ["workers", "callers", "inputs"]
    assert found["differences"][0]["path"] == 'steps["Validate"].input.price'
    assert found["remaining"] == {"blockers": [{"kind": "QUEUED", "count": 1}], "openQuestions": 0}
    callers = {each["name"]: each for each in found["callers"]["callers"]}
    assert callers.keys() == {"token:test", "token:client-0"}, "none of another tenant"
    assert (callers["token:client-0"]["checked"], callers["token:client-0"]["failing"]) == (1, 1)
    [example] = callers["token:client-0"]["examples"]
    assert example == {
        "executionId": sent["executionId"],
        "href": f"/api/v1/tenants/{ours.tenant.slug}/executions/{sent['executionId']}",
        "path": "input.price",
        "rule": "is required",
    }
    assert ours.call("GET", example["href"]).status_code == 200
    assert "very secret" not in str(found)
    refused(ours.post(f"{PIPELINE}/activations", {"releaseVersion": "2.0"}), 409, "WORKER_REQUIRED")
    making.worker(second, "worker-2.0", capacity=3)
    found = read(ours, PREFLIGHT)
    assert (found["allowed"], found["refusals"], found["workers"]) == (True, [], {"eligible": 1, "capacity": 3})
    assert ours.post(f"{PIPELINE}/activations", {"releaseVersion": "2.0"}).status_code == 201
    problem = refused(submit(ours, "after", {"id": "a"}), 422, "INPUT_INVALID")
    assert [error["field"] for error in problem["errors"]] == [example["path"]]
