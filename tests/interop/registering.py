"""Registers releases from files over `/tpf/admin`."""

import json
from pathlib import Path
from typing import Any

from tenancy.models import Tenant
from tests import making
from tests.interop.client import call

def base(owner: Tenant) -> str:
    return f"admin/tenants/{owner.slug}/pipelines/{making.PIPELINE}"


def written(
    root: Path,
    version: str = "sha256:abc",
    kind: str = "jar",
    uri: str = "",
    contract: dict[str, Any] | None = None,
    **more: Any,
) -> Path:
    """Write a descriptor and its artifact to `root`. Return the path of the descriptor."""
    contract = contract or making.contract()
    data = making.archive(contract, code=version)
    jar = root / "app.jar"
    jar.write_bytes(data)
    document = making.descriptor(contract, data, version, kind)
    document["artifacts"][0]["uri"] = uri or jar.as_uri()
    document.update(more)
    path = root / "pipeline-release.json"
    path.write_text(json.dumps(document))
    return path


def register(owner: Tenant, path: Path | str) -> Any:
    return call("POST", f"{base(owner)}/releases/register", {"releaseDescriptorPath": str(path)})
