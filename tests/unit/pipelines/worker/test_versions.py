"""A worker in Python runs the commands of three versions of the founding framework, and each reads its results."""

import json
import uuid
from typing import Any

from pipelines.worker.rest_host import RestHost
from tests.cases import cases
from tests.executions.transports.rest.strict_worker import SNAPSHOT
from tests.interop.stored import VERSIONS, message, names, unread
from tests.unit.pipelines.worker.test_rest_host import (
    CAPABILITIES,
    CONTRACT,
    EXECUTE,
    EXECUTION,
    ORDER,
    TYPES,
    host,
    payload,
    signed,
)

__all__ = ["host"]
DECISION = {"order_id": str(uuid.uuid4()), "accepted": True, "note": ""}


def inputs(version: str, value: Any, type_id: str = TYPES + "OrderRequest") -> list[dict[str, str]]:
    """Return `value` as each input that a coordinator of the version sends."""
    stored = [message(version, name, payload=payload(type_id, value)) for name in names(version, "snapshot")]
    return [payload(SNAPSHOT, each) for each in stored]


def ran(host: RestHost, version: str, name: str, given: dict[str, str]) -> Any:
    pin = {"pipelineId": host.release.identity.pipeline_id, "contractVersion": CONTRACT, "releaseVersion": "1.0"}
    body = json.dumps(message(version, name, tenantId="acme", executionId=EXECUTION, **pin, **given)).encode()
    status, text = host.respond("POST", EXECUTE, signed("POST", EXECUTE, body), body)
    assert status == 200, (version, name)
    result = json.loads(text)
    assert unread(version, "result", result) == [], (version, name)
    return result


@cases("version", VERSIONS)
def test_each_version_reads_the_results_of_its_commands(host: RestHost, version: str) -> None:
    _, hosted = host.respond("GET", CAPABILITIES, signed("GET", CAPABILITIES, b""), b"")
    assert unread(version, "capabilities", json.loads(hosted)) == []
    for given in inputs(version, ORDER):
        assert ran(host, version, "command", given)["outcome"] == "WAITING_EXTERNAL"
    assert ran(host, version, "command-resumed", payload(TYPES + "Decision", DECISION))["outcome"] == "COMPLETED"
    failures = {"command": "names no dish", "command-page": "PAGED_SOURCE_UNSUPPORTED"}
    failures |= dict.fromkeys(("command-retry", "command-reissue"), "COMMAND_REDRIVE_UNSUPPORTED")
    for name in set(names(version, "command")) - {"command-resumed"}:
        failure = ran(host, version, name, inputs(version, {**ORDER, "lines": []})[0])["failure"]
        assert failures[name] in failure["message"]
        assert failure.get("failedStepIndex") == (None if version == "august" else 0 if name == "command" else -1)
