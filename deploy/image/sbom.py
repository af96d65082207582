"""Prints the SBOM of a virtual environment: what uv exported from the lock, without what this platform does not need.

Ends with an error if the SBOM and the installed distributions differ. Run as `sbom.py EXPORT PACKAGE ENVIRONMENT`.
"""

import json
import re
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.markers import Marker

OWN = ("durable-coordinator", "durable-pipelines")
MARKER = "uv:package:marker"


def installed(environment: Path) -> dict[str, str]:
    """Return the version of each distribution in the virtual environment, by its normalised name."""
    [packages] = environment.glob("lib/python3*/site-packages")
    found = distributions(path=[str(packages)])
    return {
        re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower(): distribution.version for distribution in found
    }


def is_needed(component: dict[str, Any]) -> bool:
    """Whether the component's marker, if it has one, holds for the Python that runs this."""
    properties = {entry["name"]: entry["value"] for entry in component.get("properties", [])}
    return MARKER not in properties or Marker(properties[MARKER]).evaluate()


def sbom(export: dict[str, Any], package: str, present: dict[str, str]) -> dict[str, Any]:
    """Return the export for `package` without unneeded components and with our own distributions, which it leaves out.

    The same input gives the same bytes. Raises `ValueError` if the result differs from what is present.
    """
    own = {name: _own(name, present[name]) for name in OWN if name in present}
    needed = [component for component in export["components"] if component["name"] not in OWN and is_needed(component)]
    components = sorted([*needed, *own.values()], key=lambda component: str(component["name"]))
    described = {component["name"]: component["version"] for component in components}
    if described != present:
        raise ValueError(f"the SBOM and the environment differ: {sorted(described.items() ^ present.items())}")
    # The export describes the whole workspace as its root.
    references = {component["bom-ref"] for component in components}
    dependencies = [
        {**dependency, "dependsOn": [other for other in dependency.get("dependsOn", []) if other in references]}
        for dependency in export.get("dependencies", [])
        if dependency["ref"] in references
    ]
    return {
        **{name: value for name, value in export.items() if name != "serialNumber"},
        "metadata": {"tools": export["metadata"]["tools"], "component": {**own[package], "type": "application"}},
        "components": [component for component in components if component["name"] != package],
        "dependencies": dependencies,
    }


def _own(name: str, version: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": f"{name}@{version}", "name": name, "version": version}


if __name__ == "__main__":
    _, exported, chosen, folder = sys.argv
    json.dump(sbom(json.loads(Path(exported).read_text()), chosen, installed(Path(folder))), sys.stdout, indent=1)
