"""Strict admissions over `/tpf/control-plane`: an expected release, a client key, and a receipt that is kept."""

from collections.abc import Callable
from typing import Any

import pytest

from executions.holds import holds
from executions.lifecycle import retention
from executions.lifecycle.cancellation import cancel
from executions.models import Execution, WireForm
from interop import records
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.models import Release
from tenancy import quotas
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import ORDER, ORDER_TYPE, PIPELINE, Flow
from tests.interop.client import call, ok, payload, refused
from tests.interop.submitting import LIST, accepted, order, submit
from tests.raw_sql import unchanged
from wire.messages.admissions import AdmissionIntent, admission_key
from wire.messages.payload_envelopes import TypedPayload

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tpf")]
OTHER_INTENT = (409, "clientKey belongs to the admission of another intent")


def place(of: Flow, *key: str, pipeline_id: str = PIPELINE) -> str:
    base = f"control-plane/tenants/{of.owner.slug}/pipelines/{pipeline_id}/execution-admissions"
    return "/".join((base, *key))


def body(of: Flow, **changes: Any) -> dict[str, Any]:
    return {
        "clientKey": "k/1",
        "contractVersion": of.release.contract_version,
        "releaseVersion": of.release.release_version,
        "inputShape": "UNI",
        "inputPayload": payload(ORDER_TYPE, ORDER),
        "outputStreaming": False,
        **changes,
    }


def replaced(of: Flow, **members: Any) -> Release:
    """Activate another release, so that the first one is not open any more."""
    newer = making.registered(of.owner, "2.0", pipeline_id=PIPELINE, steps=[making.STEP], **members)
    activate(newer, actor="user:test")
    return newer


def test_an_execution_is_admitted_with_a_receipt(flow: Flow) -> None:
    sent = body(flow)
    receipt = ok("POST", place(flow), {**sent, "unknown": 1})
    assert receipt.pop("admittedAtEpochMs") > 0
    made = Execution.objects.get()
    evidence = records.evidence(flow.release)
    intent = AdmissionIntent(
        tenant_id=flow.owner.slug,
        pipeline_id=PIPELINE,
        client_key="k/1",
        contract_version=sent["contractVersion"],
        release_version=sent["releaseVersion"],
        input_shape="UNI",
        payload=TypedPayload.model_validate(sent["inputPayload"]),
        output_streaming=False,
    )
    assert receipt == {
        **{"schemaVersion": 1, "tenantId": flow.owner.slug, "pipelineId": PIPELINE, "clientKey": "k/1"},
        **{name: sent[name] for name in ("contractVersion", "releaseVersion")},
        "executionId": str(made.pk),
        "releaseMetadataFingerprint": evidence["metadataFingerprint"],
        **{name: evidence[name] for name in ("primaryArtifactId", "primaryArtifactDigest")},
        "intentFingerprint": intent.fingerprint(),
    }
    assert (made.release, made.input, made.input_shape) == (flow.release, ORDER, "UNI")
    assert made.events.get().data["requestedReleaseVersion"] == "1.0"
    assert WireForm.objects.values_list("input", flat=True).get()["payload"] == sent["inputPayload"]
    flow.advance(made)
    assert len(flow.double.commands) == 1


def no_worker(of: Flow) -> None:
    making.silence(of.worker)


def paused(of: Flow) -> None:
    holds.pause(of.release.pipeline, actor="user:test", reason="wait", refuses_submissions=True)


def revoked(of: Flow) -> None:
    revoke(of.release, actor="user:test", reason="wrong")


def removed(of: Flow) -> None:
    [made] = Execution.objects.filter(tenant=of.owner)
    cancel(of.owner, made.pk, actor="user:test", reason="no")
    making.aged(made, days=31)
    Tenant.objects.filter(pk=of.owner.pk).update(retention_days=30)
    assert retention.remove(seconds=60) == 1
    assert not Execution.objects.filter(tenant=of.owner).exists()


@cases("change", [no_worker, paused, replaced, revoked, removed])
def test_a_repeated_intent_gets_the_first_receipt_whatever_happened_since(
    flow: Flow, change: Callable[[Flow], Any]
) -> None:
    receipt = ok("POST", place(flow), body(flow))
    change(flow)
    with unchanged():
        assert ok("POST", place(flow), body(flow)) == receipt
        assert ok("GET", place(flow, "k/1")) == receipt
        assert ok("GET", place(flow, "%20k%2F1")) == receipt
        assert refused(call("POST", place(flow), body(flow, inputShape="RAW"))) == OTHER_INTENT


@cases(
    "changes",
    [
        *({"contractVersion": "x"}, {"releaseVersion": "9"}, {"inputShape": "RAW"}, {"outputStreaming": True}),
        *({"inputPayload": {**payload(ORDER_TYPE, ORDER), name: "x"}} for name in ("payloadTypeId", "payloadEncoding")),
        {"inputPayload": {**payload(ORDER_TYPE, ORDER), "payload": f"{payload(ORDER_TYPE, ORDER)['payload']} "}},
    ],
)
def test_a_key_with_another_intent_is_refused(flow: Flow, changes: dict[str, Any]) -> None:
    ok("POST", place(flow), body(flow))
    with unchanged():
        assert refused(call("POST", place(flow), body(flow, **changes))) == OTHER_INTENT


def test_a_key_belongs_to_its_tenant_and_pipeline_and_to_no_other_kind_of_submission(flow: Flow) -> None:
    admitted = ok("POST", place(flow), body(flow))["executionId"]
    assert str(accepted(flow.owner, order("k/1")).pk) != admitted
    assert submit(flow.owner, order(admission_key("k/1"))).status_code == 400
    assert refused(call("GET", place(flow, "k/1", pipeline_id="org.other"))) == (404, "")
    stranger, _ = making.ready()
    assert refused(call("GET", place(flow, "k/1").replace(flow.owner.slug, stranger.slug))) == (404, "")


REQUIRED = ("clientKey", "contractVersion", "releaseVersion", "inputShape", "inputPayload")


@cases(
    ("changes", "status", "text"),
    [
        *(({name: None}, 400, f"{name} is required") for name in REQUIRED),
        *(({name: ""}, 400, f"{name} is required") for name in REQUIRED[:3]),
        *(({"clientKey": key}, 400, "clientKey ") for key in (" k", "k\u00a0", "k" * 201)),
        *(({"inputShape": "uni"}, 400, ""), ({"outputStreaming": "no"}, 400, "")),
        ({"inputPayload": {}}, 400, "Invalid request payload"),
        ({"inputShape": "MULTI"}, 400, "Invalid request payload"),
        ({"inputPayload": payload("com.acme.Order", {})}, 400, "Invalid request payload"),
        ({"outputStreaming": True}, 400, "Async queue mode does not support streaming pipeline outputs yet."),
        ({"releaseVersion": "9"}, 404, "Pipeline "),
        ({"releaseVersion": "3.0"}, 404, ""),
        ({"contractVersion": "x"}, 409, "Release 1.0 has the contractVersion "),
    ],
)
def test_invalid_admissions_are_refused(flow: Flow, changes: dict[str, Any], status: int, text: str) -> None:
    making.uploaded(flow.owner, "3.0", pipeline_id=PIPELINE, steps=[making.STEP])
    with unchanged():
        found = refused(call("POST", place(flow), body(flow, **changes)))
    assert (found[0], found[1][: len(text)]) == (status, text)


def over_quota(of: Flow) -> None:
    quotas.change(of.owner, {"payloadBytes": 10}, actor="user:test")


def in_use(of: Flow) -> None:
    accepted(of.owner, order("other"))
    quotas.change(of.owner, {"openExecutions": 1}, actor="user:test")


@cases(
    ("change", "status", "text"),
    [
        (no_worker, 503, "No worker available for active release: "),
        (paused, 409, "The pipeline is paused since "),
        (replaced, 409, "Release '1.0' "),
        (revoked, 409, "Release '1.0' is REVOKED."),
        *((over_quota, 413, "The input has "), (in_use, 429, "The tenant's quota openExecutions is ")),
    ],
)
def test_a_release_that_admits_nothing_now_is_refused(
    flow: Flow, change: Callable[[Flow], Any], status: int, text: str
) -> None:
    change(flow)
    with unchanged():
        found = refused(call("POST", place(flow), body(flow)))
    assert (found[0], found[1][: len(text)]) == (status, text)
    assert refused(call("GET", place(flow, "k/1"))) == (404, "")


def test_items_are_admitted_with_the_type_of_the_contract(flow: Flow) -> None:
    items = payload(LIST, {"items": [payload(ORDER_TYPE, ORDER)] * 2})
    ok("POST", place(flow), body(flow, inputShape="MULTI", inputPayload=items))
    assert (Execution.objects.get().input, Execution.objects.get().input_shape) == ([ORDER, ORDER], "MULTI")
