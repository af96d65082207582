"""A strict test double of a REST worker, which follows the protocol of `/tpf` and nothing else.

It shares no code with the product: it has its own implementation of commands, signatures and results. It hosts an order
flow of four steps (validate, create, await a decision, finalise), and tests can make it misbehave.
"""

import hashlib
import hmac
import json
import socket
import struct
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests import http_server
from tests.http_server import HttpServer, body_of
from tests.receiving import Received

EXECUTE = "/pipeline/worker/transitions/execute"
CAPABILITIES = "/pipeline/worker/capabilities"
ENCODING = "application/tpf-transition+json"
SNAPSHOT = "org.pipelineframework.orchestrator.ExecutionInputSnapshot"
DTO = "org.pipelineframework.restaurantapproval.common.dto."
DOMAIN = "org.pipelineframework.restaurantapproval.common.domain."
TIMEOUT_MS = 1_800_000
ILLEGAL = "java.lang.IllegalArgumentException"
STEP_ID = "ProcessAwaitRestaurantDecisionService"
TEXTS = {
    "tenantId", "executionId", "pipelineId", "contractVersion", "releaseVersion", "resultShape", "transitionKey",
    "traceId", "payloadTypeId", "payloadEncoding", "payload",
}  # fmt: skip
NUMBERS = {"currentStepIndex", "stopBeforeStepIndex", "attempt", "executionVersion"}

CONTRACT_STEPS = [
    {
        "index": index, "authoredName": name, "kind": kind, "cardinality": "ONE_TO_ONE",
        "inputTypeId": DOMAIN + input_type, "outputTypeId": DOMAIN + output_type,
        **({"awaitTransport": "interaction-api"} if kind == "await" else {}),
    }
    for index, (name, kind, input_type, output_type) in enumerate((
        ("Process Validate Order", "internal", "PlaceRestaurantOrderRequest", "ValidatedOrder"),
        ("Process Create Order", "internal", "ValidatedOrder", "PendingRestaurantApproval"),
        ("Await Restaurant Decision", "await", "PendingRestaurantApproval", "RestaurantDecision"),
        ("Process Finalise Order", "internal", "RestaurantDecision", "TerminalOrderState"),
    ))
]  # fmt: skip


class BadRequestError(Exception):
    """The command violates the protocol."""


@dataclass
class StrictWorker:
    """Each execute request uses up one of `faults`, or else one of `answers` instead of the flow's result."""

    pipeline_id: str
    contract_version: str
    release_version: str
    secret: str
    prefix: str = ""
    requests: list[Received] = field(default_factory=list)
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
        return [request.json for request in self.requests if request.method == "POST"]

    def refusal(self, request: Received) -> int | None:
        """Return the status for a request that is not signed correctly and freshly, or that was sent before."""
        path = request.path.removeprefix(self.prefix)
        if (request.method, path) not in {("POST", EXECUTE), ("GET", CAPABILITIES)}:
            return 404
        names = ("X-TPF-Worker-Timestamp", "X-TPF-Worker-Nonce", "X-TPF-Worker-Signature")
        timestamp, nonce, signature = (request.headers.get(name, "") for name in names)
        digest = hashlib.sha256(request.body).hexdigest()
        canonical = f"{request.method}\n{path}\n{timestamp}\n{nonce}\n{digest}"
        expected = hmac.new(self.secret.encode(), canonical.encode(), hashlib.sha256).hexdigest()
        if not nonce or nonce in self.nonces or not hmac.compare_digest(expected, signature):
            return 401
        self.nonces.add(nonce)
        late = abs((datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()) > 120
        return 401 if late else None

    def parse(self, body: bytes) -> dict[str, Any]:
        """Return a command that has exactly the known members and is for this worker."""
        command: dict[str, Any] = json.loads(body)
        types = dict.fromkeys(TEXTS, str) | dict.fromkeys(NUMBERS, int)
        require({name: type(value) for name, value in command.items()} == types, "members")
        start, stop = command["currentStepIndex"], command["stopBeforeStepIndex"]
        require(min(start, command["attempt"], command["executionVersion"]) >= 0, "numbers")
        require(stop == -1, "the last step")
        require(command["transitionKey"] and command["resultShape"] in {"SINGLE", "MATERIALIZED_MULTI"}, "key or shape")
        return command

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run the flow, which starts at the first step or after its await."""
        release = command["releaseVersion"]
        hosted = (self.pipeline_id, self.contract_version, self.release_version)
        if (command["pipelineId"], command["contractVersion"], release) != hosted:
            message = f"releaseVersion={release} but local worker is releaseVersion={self.release_version}"
            return result("FAILED", failure={"failureClass": ILLEGAL, "message": message})
        payload = {name: command[name] for name in ("payloadTypeId", "payloadEncoding", "payload")}
        if command["currentStepIndex"] == 3:
            return self.finalise(decode(payload, DTO + "RestaurantDecisionDto"))
        require(command["currentStepIndex"] == 0, "the first step")
        snapshot = decode(payload, SNAPSHOT)
        require((set(snapshot), snapshot["shape"]) == ({"shape", "payload", "items"}, "UNI"), "snapshot")
        require(snapshot["items"] == [], "items")
        return self.suspend(command, decode(snapshot["payload"], DTO + "PlaceRestaurantOrderRequestDto"))

    def suspend(self, command: dict[str, Any], order: Any) -> dict[str, Any]:
        """Validate and create the order, then await the restaurant's decision."""
        require(set(order) <= {"requestId", "customerId", "amount"}, "order")
        tenant, execution = command["tenantId"], command["executionId"]
        now = int(time.time() * 1000)
        order_id = str(uuid.uuid5(uuid.NAMESPACE_OID, order["requestId"]))
        unit_id, interaction_id = name_uuid(f"{tenant}:{execution}:{STEP_ID}:2"), str(uuid.uuid4())
        key = f"{STEP_ID}:orderId={order_id}"
        common = {"tenantId": tenant, "executionId": execution, "stepId": STEP_ID, "stepIndex": 2}
        times = {"createdAtEpochMs": now, "updatedAtEpochMs": now, "ttlEpochS": (now + TIMEOUT_MS) // 1000 + 86400}
        unit = {
            **common, **times, "unitId": unit_id, "cardinality": "ONE_TO_ONE", "version": 1,
            "status": "WAITING_EXTERNAL", "primaryInteractionId": interaction_id, "expectedItemCount": None,
            "completedItemCount": 0, "completedItemKeys": [], "dispatchComplete": False,
        }  # fmt: skip
        interaction = {
            **common, **times, "unitId": unit_id, "interactionId": interaction_id, "itemIndex": None, "version": 2,
            "correlationId": name_uuid(f"{tenant}:{execution}:{STEP_ID}:{key}"), "causationId": f"{execution}:2",
            "idempotencyKey": key, "status": "DISPATCHED", "actor": None, "assignee": None, "group": "restaurant",
            "requestPayload": {"orderId": order_id, "requestId": order["requestId"], "status": "PENDING"},
            "responsePayload": None, "deadlineEpochMs": now + TIMEOUT_MS, "transportType": "interaction-api",
            "transportMetadata": {"adapter": "interaction-api", "dispatchedAtEpochMs": now},
            "outputType": DTO + "RestaurantDecisionDto", "transportOutputType": DTO + "RestaurantDecisionDto",
        }  # fmt: skip
        ids = {"tenantId": tenant, "executionId": execution, "unitId": unit_id, "stepIndex": 2}
        return result("WAITING_EXTERNAL", awaitSuspension={**ids, "unit": unit, "interactions": [interaction]})

    def finalise(self, decision: Any) -> dict[str, Any]:
        [(variant, details)] = decision.items()
        require(variant in {"accepted", "rejected"}, "decision")
        try:
            order_id = str(uuid.UUID(details["orderId"]))
        except ValueError as error:
            return result("FAILED", failure={"failureClass": ILLEGAL, "message": str(error)})
        # Unusual spaces and order, and a trailing zero: clients must get this result unchanged.
        text = f'{{ "state":"{variant.upper()}",  "orderId":"{order_id}", "total":27.50 }}'
        return completed({"payloadTypeId": DTO + "TerminalOrderStateDto", "payloadEncoding": ENCODING, "payload": text})

    def capability_document(self) -> dict[str, Any]:
        return {
            "protocolVersion": "1", "providerName": "rest", "pipelineId": self.pipeline_id,
            "contractVersion": self.contract_version, "releaseVersion": self.release_version,
            "artifactId": "", "artifactDigest": "", "workerProtocols": ["local", "rest", "grpc", "sqs"],
            "payloadEncodings": ["application/tpf-transition-envelope+json"], **self.capabilities,
        }  # fmt: skip


def result(outcome: str, **members: Any) -> dict[str, Any]:
    none: dict[str, Any] = {"outputPayloads": [], "awaitSuspension": None, "failure": None}
    flags = {"terminalOutputPublished": False, "terminalInputPassthrough": False}
    return {"outcome": outcome, **none, **flags, **members}


def completed(*payloads: dict[str, str]) -> dict[str, Any]:
    return result("COMPLETED", outputPayloads=list(payloads))


def require(sound: object, what: str) -> None:
    if not sound:
        raise BadRequestError(what)


def decode(payload: Any, type_id: str) -> Any:
    """Return the document in a payload, which must have this type."""
    require(set(payload) == {"payloadTypeId", "payloadEncoding", "payload"}, "payload")
    require((payload["payloadTypeId"], payload["payloadEncoding"]) == (type_id, ENCODING), "type or encoding")
    return json.loads(payload["payload"])


def name_uuid(name: str) -> str:
    return str(uuid.UUID(bytes=hashlib.md5(name.encode()).digest(), version=3))


class WorkerServer(HttpServer):
    def __init__(self, worker: StrictWorker, port: int) -> None:
        super().__init__(port=port)
        self.worker = worker
        worker.port = self.port

    def respond(self, request: http_server.Request) -> None:
        worker = self.worker
        received = Received(request.command, request.path, dict(request.headers), body_of(request))
        worker.requests.append(received)
        status = worker.refusal(received)
        if status is not None:
            self._send(request, status, b"")
        elif request.command == "GET":
            if worker.faults == ["slow"]:
                time.sleep(worker.slow_seconds)
            self._send(request, 200, json.dumps(worker.capability_document()).encode())
        elif fault := worker.faults.pop(0) if worker.faults else "":
            self._misbehave(request, fault)
        else:
            self._execute(request, received.body)

    def _execute(self, request: http_server.Request, body: bytes) -> None:
        worker = self.worker
        try:
            command = worker.parse(body)
            answer = worker.answers.pop(0) if worker.answers else worker.run(command)
        except (BadRequestError, LookupError, ValueError):
            self._send(request, 400, b"")
            return
        self._send(request, 200, json.dumps(answer(command) if callable(answer) else answer).encode())

    def _misbehave(self, request: http_server.Request, fault: str) -> None:
        if fault == "slow":
            time.sleep(self.worker.slow_seconds)
            self._send(request, 200, json.dumps(completed()).encode())
        elif fault == "drop":
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.connection.close()
        elif fault == "redirect":
            self._send(request, 307, b"", Location=f"{self.worker.endpoint}/elsewhere")
        elif fault == "huge":
            self._send(request, 200, b'"' + b"x" * 200_000 + b'"')
        else:
            status, _, text = fault.partition(" ")
            self._send(request, int(status), text.encode())

    def _send(self, request: http_server.Request, status: int, body: bytes, **headers: str) -> None:
        if request.command == "POST":  # checks for a worker of another test at this port may arrive too
            self.worker.statuses.append(status)
        http_server.send(request, status, headers, body)


@contextmanager
def serving(worker: StrictWorker, port: int = 0) -> Iterator[StrictWorker]:
    """Serve the worker on `port`, or on any free port if it is 0. `worker.endpoint` contains it."""
    with WorkerServer(worker, port).running():
        yield worker
