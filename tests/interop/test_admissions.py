"""Strict admissions over `/tpf/control-plane`: an expected release, a client key, and a receipt that is kept."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from executions.holds import holds
from executions.lifecycle import retention
from executions.lifecycle.interventions import cancel
from executions.models import Execution, WireForm
from governance.activation.activation import activate
from governance.retirement.retirement import revoke
from interop import records
from tenancy import quotas
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import ORDER, ORDER_TYPE, PIPELINE, Flow
from tests.interop.client import NO_WORKER, accepted, call, ok, order, payload, refused, submit
from tests.raw_sql import unchanged
from wire.messages.payload_envelopes import admission_key

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tpf")]
OTHER_INTENT = (409, "clientKey belongs to the admission of another intent")
PAYLOAD = payload(ORDER_TYPE, ORDER)
USER = "user:test"


def place(flow: Flow, *key: str, pipeline_id: str = PIPELINE) -> str:
    return "/".join((f"control-plane/tenants/{flow.owner.slug}/pipelines/{pipeline_id}/execution-admissions", *key))


def body(flow: Flow, **changes: Any) -> dict[str, Any]:
    pin = {"contractVersion": flow.release.contract_version, "releaseVersion": flow.release.release_version}
    return {"clientKey": "k/1", **pin, "inputShape": "UNI", "inputPayload": PAYLOAD, **changes}


def test_an_execution_is_admitted_with_a_receipt(flow: Flow) -> None:
    sent = body(flow, outputStreaming=False, unknown=1)
    receipt = ok("POST", place(flow), sent)
    assert receipt.pop("admittedAtEpochMs") > 0
    made, evidence = Execution.objects.get(), records.evidence(flow.release)
    pin = flow.owner.slug, PIPELINE, "k/1", sent["contractVersion"], "1.0"
    framed = b"".join(len(text).to_bytes(4, "big") + text.encode() for text in (*pin, "UNI", *PAYLOAD.values()))
    names = ("tenantId", "pipelineId", "clientKey", "contractVersion", "releaseVersion")
    assert receipt == {
        **{"schemaVersion": 1, **dict(zip(names, pin, strict=True)), "executionId": str(made.pk)},
        "releaseMetadataFingerprint": evidence["metadataFingerprint"],
        **{name: evidence[name] for name in ("primaryArtifactId", "primaryArtifactDigest")},
        "intentFingerprint": hashlib.sha256(b"\0\0\0\1" + framed + b"\0").hexdigest(),
    }
    assert (made.release, made.input, made.input_shape) == (flow.release, ORDER, "UNI")
    assert made.events.get().data["requestedReleaseVersion"] == "1.0"
    assert WireForm.objects.values_list("input__payload", flat=True).get() == PAYLOAD


def test_bytes_that_were_written_again_are_hashed_before_an_admission(flow: Flow) -> None:
    file = making.stored_file(flow.release.artifacts.get().digest)
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data)
    assert ok("POST", place(flow), body(flow))["clientKey"] == "k/1"


def no_worker(flow: Flow) -> None:
    making.silence(flow.worker)


def paused(flow: Flow) -> None:
    holds.pause(flow.release.pipeline, actor=USER, reason="wait", refuses_submissions=True)


def replaced(flow: Flow) -> None:
    activate(making.registered(flow.owner, "2.0", pipeline_id=PIPELINE, steps=[making.STEP]), actor=USER)


def revoked(flow: Flow) -> None:
    revoke(flow.release, actor=USER, reason="wrong")


def removed(flow: Flow) -> None:
    made = Execution.objects.get(tenant=flow.owner)
    cancel(flow.owner, made.pk, actor=USER, reason="no")
    making.aged(made, days=31)
    Tenant.objects.filter(pk=flow.owner.pk).update(retention_days=30)
    assert retention.remove(seconds=60) == 1


@cases("change", [no_worker, paused, replaced, revoked, removed])
def test_a_repeated_intent_always_gets_the_first_receipt(flow: Flow, change: Callable[[Flow], None]) -> None:
    receipt = ok("POST", place(flow), body(flow))
    change(flow)
    with unchanged():
        assert ok("POST", place(flow), body(flow)) == receipt
        assert ok("GET", place(flow, "k/1")) == ok("GET", place(flow, "%20k%2F1")) == receipt


OTHERS: list[dict[str, Any]] = [
    {"contractVersion": "x"},
    {"releaseVersion": "9"},
    {"inputShape": "RAW"},
    {"outputStreaming": True},
    *({"inputPayload": {**PAYLOAD, name: f"{PAYLOAD[name]} "}} for name in PAYLOAD),
]


def test_a_key_belongs_to_one_intent_of_its_tenant_and_pipeline_and_to_no_other_kind_of_submission(flow: Flow) -> None:
    admitted = ok("POST", place(flow), body(flow))["executionId"]
    with unchanged():
        for changes in OTHERS:
            assert refused(call("POST", place(flow), body(flow, **changes))) == OTHER_INTENT, changes
    assert str(accepted(flow.owner, order("k/1")).pk) != admitted
    assert submit(flow.owner, order(admission_key("k/1"))).status_code == 400
    stranger = place(flow, "k/1").replace(flow.owner.slug, making.ready()[0].slug)
    for path in (stranger, place(flow, "k/1", pipeline_id="org.other"), place(flow, "k")):
        assert refused(call("GET", path)) == (404, "")


def over_quota(flow: Flow) -> None:
    quotas.change(flow.owner, {"payloadBytes": 10}, actor=USER)


def full(flow: Flow) -> None:
    accepted(flow.owner, order("other"))
    quotas.change(flow.owner, {"openExecutions": 1}, actor=USER)


REQUIRED = ("clientKey", "contractVersion", "releaseVersion", "inputShape", "inputPayload")
NO_STREAMING = "Async queue mode does not support streaming pipeline outputs yet."


@cases(
    ("change", "changes", "status", "text"),
    [
        *((None, {name: ""}, 400, f"{name} is required") for name in REQUIRED[:4]),
        *((None, {name: None}, 400, f"{name} is required") for name in REQUIRED),
        *((None, {"clientKey": key}, 400, "clientKey ") for key in (" k", "k\u00a0", "k" * 201)),
        *((None, changes, 400, "") for changes in ({"inputShape": "uni"}, {"outputStreaming": "no"})),
        (None, {"outputStreaming": True}, 400, NO_STREAMING),
        *((None, {"inputPayload": bad}, 400, "Invalid request payload") for bad in ({}, payload("com.acme.Order", {}))),
        (None, {"inputShape": "MULTI"}, 400, "Invalid request payload"),
        (None, {"releaseVersion": "9"}, 404, "Pipeline "),
        (None, {"releaseVersion": "3.0"}, 404, ""),
        (None, {"contractVersion": "x"}, 409, "Release 1.0 has the contractVersion "),
        (replaced, {}, 409, "Release '1.0' "),
        (revoked, {}, 409, "Release '1.0' is REVOKED."),
        (paused, {}, 409, "The pipeline is paused since "),
        (over_quota, {}, 413, "The input has "),
        (full, {}, 429, "The tenant's quota openExecutions is "),
        (no_worker, {}, 503, f"{NO_WORKER}No healthy rest worker lifecycle record for active release; "),
    ],
)
def test_what_cannot_be_admitted_is_refused_and_changes_nothing(
    flow: Flow, change: Callable[[Flow], None] | None, changes: dict[str, Any], status: int, text: str
) -> None:
    making.uploaded(flow.owner, "3.0", pipeline_id=PIPELINE, steps=[making.STEP])
    if change is not None:
        change(flow)
    with unchanged():
        refusal = refused(call("POST", place(flow), body(flow, **changes)))
    assert (refusal[0], refusal[1][: len(text)]) == (status, text)
