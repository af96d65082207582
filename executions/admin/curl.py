"""The command that submits the input of an execution again, for a POSIX shell."""

import json
import shlex
import uuid
from typing import Any

from executions.models import Execution

LONGEST_BODY = 20_000
"""A longer body is read from a file, because shells limit the length of an argument."""
FILE = "request.json"


def body(execution: Execution) -> dict[str, Any]:
    """Return the body of the request. Its new key makes a repeated command return the same new execution."""
    members = {"pipelineId": execution.pipeline_id, "idempotencyKey": str(uuid.uuid4()), "input": execution.input}
    return {**members, "tags": execution.tags} if execution.tags else members


def command(url: str, text: str) -> str:
    """Return the command. The shell replaces $TOKEN, and nothing else."""
    inline = len(text) <= LONGEST_BODY
    data = f"--data-raw {shlex.quote(text)}" if inline else f"--data-binary @{FILE}"
    lines = [
        f"curl --fail-with-body --request POST {shlex.quote(url)}",
        '--header "Authorization: Bearer $TOKEN"',
        "--header 'Content-Type: application/json'",
        data,
    ]
    return " \\\n  ".join(lines)


def as_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
