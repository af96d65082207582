"""A strict test double of the founding framework's REST worker, which follows the wire protocol and nothing else.

It shares no code with the product: it has its own implementation of commands, signatures and results. It hosts an order
flow of four steps (validate, create, await a decision, finalise), and tests can make it misbehave.
"""

import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

EXECUTE = "/pipeline/worker/transitions/execute"
CAPABILITIES = "/pipeline/worker/capabilities"
ENCODING = "application/tpf-transition+json"
SNAPSHOT = "org.pipelineframework.orchestrator.ExecutionInputSnapshot"
DTO = "org.pipelineframework.restaurantapproval.common.dto."
DOMAIN = "org.pipelineframework.restaurantapproval.common.domain."
STEP_ID = "ProcessAwaitRestaurantDecisionService"
ILLEGAL = "java.lang.IllegalArgumentException"
STEPS = 4
TEXTS = {
    "tenantId", "executionId", "pipelineId", "contractVersion", "releaseVersion", "resultShape", "transitionKey",
    "traceId", "payloadTypeId", "payloadEncoding", "payload",
}  # fmt: skip
NUMBERS = {"currentStepIndex", "stopBeforeStepIndex", "attempt", "executionVersion"}

CONTRACT_STEPS = [
    {
        "index": index,
        "authoredName": name,
        "kind": "await" if name.startswith("Await") else "internal",
        "cardinality": "ONE_TO_ONE",
        "inputTypeId": DOMAIN + input_type,
        "outputTypeId": DOMAIN + output_type,
        **({"awaitTransport": "interaction-api"} if name.startswith("Await") else {}),
    }
    for index, (name, input_type, output_type) in enumerate(
        (
            ("Process Validate Order", "PlaceRestaurantOrderRequest", "ValidatedOrder"),
            ("Process Create Order", "ValidatedOrder", "PendingRestaurantApproval"),
            ("Await Restaurant Decision", "PendingRestaurantApproval", "RestaurantDecision"),
            ("Process Finalise Order", "RestaurantDecision", "TerminalOrderState"),
        )
    )
]


class BadRequestError(Exception):
    """The command violates the protocol."""


class FailedTransitionError(Exception):
    def __init__(self, failure_class: str, message: str | None) -> None:
        super().__init__(message)
        self.failure_class = failure_class
        self.message = message


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def command(self) -> Any:
        return json.loads(self.body)


@dataclass
class StrictWorker:
    """Each execute request uses up one of `faults`, or else one of `answers` instead of the flow's result."""

    pipeline_id: str
    contract_version: str
    release_version: str
    secret: str
    tolerance: float = 120.0
    timeout_ms: int = 1_800_000
    prefix: str = ""
    requests: list[Request] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    capabilities: dict[str, Any] = field(default_factory=dict)
    slow_seconds: float = 3.0
    nonces: set[str] = field(default_factory=set)
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def commands(self) -> list[Any]:
        return [request.command for request in self.requests if request.method == "POST"]

    # --- authentication (D.3, D.4) ---

    def refusal(self, request: Request) -> int | None:
        path = request.path.removeprefix(self.prefix)
        if (request.method, path) not in {("POST", EXECUTE), ("GET", CAPABILITIES)}:
            return 404
        names = ("X-TPF-Worker-Timestamp", "X-TPF-Worker-Nonce", "X-TPF-Worker-Signature")
        timestamp, nonce, signature = (request.headers.get(name, "") for name in names)
        if not (timestamp.strip() and nonce.strip() and signature.strip()):
            return 401
        try:
            sent = datetime.fromisoformat(timestamp)
        except ValueError:
            return 401
        if sent.tzinfo is None or abs((datetime.now(UTC) - sent).total_seconds()) > self.tolerance:
            return 401
        digest = hashlib.sha256(request.body).hexdigest()
        canonical = f"{request.method}\n{path}\n{timestamp}\n{nonce}\n{digest}"
        expected = hmac.new(self.secret.encode(), canonical.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, signature) or nonce in self.nonces:
            return 401
        self.nonces.add(nonce)
        return None

    # --- commands (D.5) ---

    def parse(self, body: bytes) -> dict[str, Any]:
        try:
            command = json.loads(body)
        except ValueError:
            raise BadRequestError("malformed") from None
        if not isinstance(command, dict) or set(command) - TEXTS - NUMBERS:
            raise BadRequestError("unknown member")
        for name in NUMBERS:
            value = command.get(name)
            command[name] = 0 if value is None else value
            if type(command[name]) is not int:
                raise BadRequestError(name)
        for name in TEXTS - {"contractVersion", "releaseVersion"}:
            if not isinstance(command.get(name), str):
                raise BadRequestError(name)
        if not (command.get("contractVersion") or "").strip():
            command["contractVersion"] = "local-contract"
        if not (command.get("releaseVersion") or "").strip():
            command["releaseVersion"] = command["contractVersion"]
        start, stop = command["currentStepIndex"], command["stopBeforeStepIndex"]
        if start < 0 or command["attempt"] < 0 or command["executionVersion"] < 0 or stop < -1 or 0 <= stop < start:
            raise BadRequestError("numbers")
        if not command["transitionKey"].strip() or command["resultShape"] not in {"SINGLE", "MATERIALIZED_MULTI"}:
            raise BadRequestError("key or shape")
        return command

    # --- the flow (F.7) ---

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        own = (self.pipeline_id, self.contract_version, self.release_version)
        if (command["pipelineId"], command["contractVersion"], command["releaseVersion"]) != own:
            raise FailedTransitionError(
                ILLEGAL,
                f"Transition command targets pipelineId={command['pipelineId']}, "
                f"contractVersion={command['contractVersion']}, releaseVersion={command['releaseVersion']} but local "
                f"worker is pipelineId={own[0]}, contractVersion={own[1]}, releaseVersion={own[2]}",
            )
        start, stop = command["currentStepIndex"], command["stopBeforeStepIndex"]
        if start > STEPS or stop > STEPS:
            raise FailedTransitionError(ILLEGAL, "step index out of range")
        payload = {name: command[name] for name in ("payloadTypeId", "payloadEncoding", "payload")}
        if stop == start:
            return completed(payload)
        if start == STEPS:
            return {**completed(), "terminalInputPassthrough": True}
        if start == 3:
            return self.finalise(decode(payload, DTO + "RestaurantDecisionDto"))
        if start != 0:
            raise FailedTransitionError(ILLEGAL, f"the flow does not start at {start}")
        snapshot = strict(payload, SNAPSHOT, {"shape", "payload", "items"})
        if snapshot["shape"] != "UNI" or snapshot["items"]:
            raise FailedTransitionError(ILLEGAL, "one order at a time")
        return self.suspend(command, decode(snapshot["payload"], DTO + "PlaceRestaurantOrderRequestDto"))

    def suspend(self, command: dict[str, Any], order: Any) -> dict[str, Any]:
        """Validate and create the order, then await the restaurant's decision."""
        if (
            not isinstance(order, dict)
            or set(order) - {"requestId", "customerId", "amount"}
            or "requestId" not in order
        ):
            raise FailedTransitionError(
                ILLEGAL, f"Failed to decode transition payload type {DTO}PlaceRestaurantOrderRequestDto"
            )
        if order.get("amount", 0) < 0:
            raise FailedTransitionError("org.pipelineframework.step.NonRetryableException", "the amount is negative")
        tenant, execution = command["tenantId"], command["executionId"]
        now = int(time.time() * 1000)
        order_id = str(uuid.uuid5(uuid.NAMESPACE_OID, order["requestId"]))
        unit_id, interaction_id = name_uuid(f"{tenant}:{execution}:{STEP_ID}:2"), str(uuid.uuid4())
        key = f"{STEP_ID}:orderId={order_id}"
        common = {"tenantId": tenant, "executionId": execution, "stepId": STEP_ID, "stepIndex": 2}
        times = {"createdAtEpochMs": now, "updatedAtEpochMs": now, "ttlEpochS": (now + self.timeout_ms) // 1000 + 86400}
        unit = {
            **common,
            "unitId": unit_id,
            "cardinality": "ONE_TO_ONE",
            "version": 1,
            "status": "WAITING_EXTERNAL",
            "primaryInteractionId": interaction_id,
            "expectedItemCount": None,
            "completedItemCount": 0,
            "completedItemKeys": [],
            "dispatchComplete": False,
            **times,
        }
        interaction = {
            **common,
            "outputType": DTO + "RestaurantDecisionDto",
            "interactionId": interaction_id,
            "correlationId": name_uuid(f"{tenant}:{execution}:{STEP_ID}:{key}"),
            "causationId": f"{execution}:2",
            "idempotencyKey": key,
            "version": 2,
            "status": "DISPATCHED",
            "requestPayload": {"orderId": order_id, "requestId": order["requestId"], "status": "PENDING"},
            "responsePayload": None,
            "unitId": unit_id,
            "itemIndex": None,
            "actor": None,
            "assignee": None,
            "group": "restaurant",
            "transportType": "interaction-api",
            "transportMetadata": {"adapter": "interaction-api", "dispatchedAtEpochMs": now},
            "deadlineEpochMs": now + self.timeout_ms,
            **times,
            "transportOutputType": DTO + "RestaurantDecisionDto",
        }
        suspension = {
            "tenantId": tenant,
            "executionId": execution,
            "unitId": unit_id,
            "stepIndex": 2,
            "unit": unit,
            "interactions": [interaction],
        }
        return {**result("WAITING_EXTERNAL"), "awaitSuspension": suspension}

    def finalise(self, decision: Any) -> dict[str, Any]:
        failure = FailedTransitionError(ILLEGAL, f"Failed to decode transition payload type {DTO}RestaurantDecisionDto")
        if not isinstance(decision, dict) or len(decision) != 1 or next(iter(decision)) not in {"accepted", "rejected"}:
            raise failure
        [(variant, details)] = decision.items()
        try:
            order_id = str(uuid.UUID(details["orderId"]))
        except (ValueError, TypeError, KeyError):
            raise failure from None
        # Unusual spaces and order, and a trailing zero: clients must get this result unchanged.
        text = f'{{ "state":"{variant.upper()}",  "orderId":"{order_id}", "total":27.50 }}'
        return completed({"payloadTypeId": DTO + "TerminalOrderStateDto", "payloadEncoding": ENCODING, "payload": text})

    def capability_document(self) -> dict[str, Any]:
        return {
            "protocolVersion": "1",
            "providerName": "rest",
            "pipelineId": self.pipeline_id,
            "contractVersion": self.contract_version,
            "releaseVersion": self.release_version,
            "artifactId": "",
            "artifactDigest": "",
            "payloadEncodings": ["application/tpf-transition-envelope+json"],
            "workerProtocols": ["local", "rest", "grpc", "sqs"],
            **self.capabilities,
        }


def result(outcome: str, **members: Any) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "outputPayloads": [],
        "awaitSuspension": None,
        "failure": None,
        "terminalOutputPublished": False,
        "terminalInputPassthrough": False,
        **members,
    }


def completed(*payloads: dict[str, str]) -> dict[str, Any]:
    return result("COMPLETED", outputPayloads=list(payloads))


def strict(payload: Any, type_id: str, members: set[str]) -> Any:
    """Return the document in a payload. It must have this type, and only these members."""
    if not isinstance(payload, dict) or set(payload) != {"payloadTypeId", "payloadEncoding", "payload"}:
        raise FailedTransitionError(ILLEGAL, f"Failed to decode transition payload type {type_id}")
    if payload["payloadEncoding"] != ENCODING:
        raise FailedTransitionError(ILLEGAL, f"Unsupported transition payload encoding: {payload['payloadEncoding']}")
    if payload["payloadTypeId"] != type_id:
        raise FailedTransitionError(ILLEGAL, f"{payload['payloadTypeId']} cannot be cast to {type_id}")
    document = json.loads(payload["payload"])
    if members and (not isinstance(document, dict) or set(document) - members):
        raise FailedTransitionError(ILLEGAL, f"Failed to decode transition payload type {type_id}")
    return document


def decode(payload: Any, type_id: str) -> Any:
    return strict(payload, type_id, set())


def name_uuid(name: str) -> str:
    return str(uuid.UUID(bytes=hashlib.md5(name.encode()).digest(), version=3))
