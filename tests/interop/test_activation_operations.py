"""Activations with operation keys, their receipts, and the current activation, over `/tpf/admin`."""

from typing import Any

import pytest

from governance.gradual import changes
from governance.retirement.retirement import revoke
from releases import policy
from releases.models import Activation
from tenancy.models import Tenant
from tests import gradual, making
from tests.cases import cases
from tests.interop.client import base, call, ok, refused
from wire.identity import RULE

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tpf")]
KEY = "deploy/1"
CONTRACT = making.contract()["contractVersion"]
EVENT = ("activationId", "contractVersion", "releaseVersion", "immutableReleaseIdentity", "activatedAtEpochMs")


def operate(owner: Tenant, key: Any, version: str = "1.0", **more: Any) -> Any:
    body = {"operationKey": key, "contractVersion": CONTRACT, "releaseVersion": version, **more}
    return call("POST", f"{base(owner)}/activation-operations", body)


def current(owner: Tenant) -> Any:
    return ok("GET", f"{base(owner)}/current-activation")


def event_id(owner: Tenant) -> str:
    return str(current(owner)["identifiedEvent"]["activationId"])


def test_a_key_activates_once_and_its_receipt_stays(owner: Tenant) -> None:
    scope = {"schemaVersion": 1, "tenantId": owner.slug, "pipelineId": making.PIPELINE}
    assert current(owner) == {**scope, "state": "NONE", "identifiedEvent": None}
    first, second = (making.registered(owner, version) for version in ("1.0", "2.0"))
    receipt = operate(owner, KEY).json()
    event = {name: receipt[name] for name in EVENT}
    assert receipt == {**scope, "operationKey": KEY, **event}
    assert current(owner) == {**scope, "state": "IDENTIFIED", "identifiedEvent": event}
    identity = receipt["immutableReleaseIdentity"]
    assert (identity["primaryArtifactUri"], identity["primaryArtifactSizeBytes"] > 0) == ("app.zip", True)
    assert identity["contract"]["contractVersion"] == receipt["contractVersion"] == CONTRACT

    ids = [receipt["activationId"], operate(owner, "l", "2.0").json()["activationId"]]
    ok("POST", f"{base(owner)}/releases/2.0/activate")
    assert len({*ids, event_id(owner)}) == 3
    revoke(first, actor="user:ada", reason="It is broken.")
    making.stored_file(first.artifacts.get().digest).unlink()
    assert operate(owner, KEY).json() == ok("GET", f"{base(owner)}/activation-operations/{KEY}") == receipt
    for other in (operate(owner, KEY, "2.0"), operate(owner, KEY, "3.0"), operate(owner, KEY, contractVersion="c")):
        assert refused(other) == (409, "The operation key belongs to the activation of another release")
    assert Activation.objects.filter(pipeline__tenant=owner).count() == 3
    revoke(second, actor="user:ada", reason="It is broken, too.")
    assert current(owner)["state"] == "NONE"


@cases(
    ("body", "status", "text"),
    [
        *(
            ({name: value}, 400, f"{name} is required")
            for name in ("operationKey", "releaseVersion")
            for value in ("", None)
        ),
        ({"contractVersion": " "}, 400, "contractVersion is required"),
        ({"operationKey": 1}, 400, ""),
        ({"operationKey": "a\nb"}, 400, f"operationKey {RULE}"),
        ({"operationKey": "k" * 201}, 400, "operationKey is too long"),
        ({"releaseVersion": "2.0"}, 404, ""),
        ({"contractVersion": "c"}, 409, "Release 1.0 has another contract version"),
    ],
)
def test_what_names_no_activation_is_refused(owner: Tenant, body: dict[str, Any], status: int, text: str) -> None:
    making.registered(owner)
    assert refused(operate(owner, "k", **body)) == (status, text)
    assert refused(call("GET", f"{base(owner)}/activation-operations/k")) == (404, "")
    assert current(owner)["state"] == "NONE"


def test_a_refused_operation_leaves_its_key_free(owner: Tenant) -> None:
    pipeline = making.registered(owner).pipeline
    policy.change(pipeline, {"reasonRequired": True}, actor="user:ada")
    status, text = refused(operate(owner, "k"))
    assert (status, "requires a reason" in text) == (409, True)
    making.registered(owner, "2.0")
    policy.change(pipeline, {"reasonRequired": False}, actor="user:ada")
    assert operate(owner, "k", "2.0").json()["activationId"] == event_id(owner)


def test_the_steps_of_a_gradual_activation_are_no_activations_but_its_promotion_is(owner: Tenant) -> None:
    making.active(owner)
    before = event_id(owner)
    started = gradual.start(gradual.candidate(owner), gradual.plan(50), actor="user:ada", operation_key="start")
    assert event_id(owner) == before
    assert refused(call("GET", f"{base(owner)}/activation-operations/start")) == (404, "")
    assert refused(operate(owner, "start"))[0] == 409
    changes.promote(started, actor="user:ada", reason="urgent")
    promoted = current(owner)["identifiedEvent"]
    assert (promoted["releaseVersion"], promoted["activationId"] == before) == ("2.0", False)
