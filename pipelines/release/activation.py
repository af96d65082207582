"""Asks a coordinator what an activation would do, and activates releases."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import quote

from pipelines.release.connection import Target, call


def preflight(target: Target, pipeline_id: str, release_version: str) -> dict[str, Any]:
    """Return what would happen if the release became active now, as the API does.

    Raises ``DefinitionError``: INVALID_URL, COORDINATOR_UNREACHABLE, COORDINATOR_REFUSED.
    """
    address = f"{_pipeline(target, pipeline_id)}/releases/{quote(release_version, safe='/')}/preflight"
    with target.session() as http:
        return call(http, "GET", address, (200,))


def activate(
    target: Target, pipeline_id: str, release_version: str, *, reason: str, expected: str | None = None
) -> dict[str, Any]:
    """Activate a registered release and return the activation as the API does.

    With ``expected``, the call fails unless that release is active, or none if it is "". Raises ``DefinitionError``:
    INVALID_URL, COORDINATOR_UNREACHABLE, COORDINATOR_REFUSED (``CoordinatorRefused``).
    """
    body = {
        "releaseVersion": release_version,
        "reason": reason,
        "expectedReleaseVersion": expected,
        "operationKey": secrets.token_hex(16),
    }
    with target.session() as http:
        return call(http, "POST", f"{_pipeline(target, pipeline_id)}/activations", (201,), json=body)


def _pipeline(target: Target, pipeline_id: str) -> str:
    return f"{target.base}/pipelines/{quote(pipeline_id, safe='')}"
