"""The evidence of a release, as clients of `/tpf` read it since November 2026. Pure.

A client computes the fingerprint again when it reads the evidence, and refuses another one. So the
documents here have exactly the members of its records, with their order and defaults, and the fingerprint covers the
bytes that its JSON library writes. Members that these records do not have are left out: a client refuses them.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from wire.documents.contract import without_nulls
from wire.documents.json_writer import in_key_order

_Reader = Callable[[Any], Any]


def evidence(
    descriptor: Mapping[str, Any], contract: Mapping[str, Any] | None, primary: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the evidence of a release with these normalised documents.

    `primary` has the five members of the primary artifact. A descriptor of the profile `tpf-2026-08` names no carrier
    of the contract: that is the primary artifact.
    """
    named = {"compiledTruthArtifactId": primary["primaryArtifactId"], **descriptor}
    made = {
        "descriptor": _record(_DESCRIPTOR)(named),
        "contract": None if contract is None else _record(_CONTRACT)(contract),
        **primary,
    }
    return {**made, "metadataFingerprint": hashlib.sha256(_written(made).encode()).hexdigest()}


# --- the records ----------------------------------------------------------------------------------


def _same(value: Any) -> Any:
    return value


def _or(default: Any) -> _Reader:
    return lambda value: default if value is None else value


def _map(value: Any) -> Any:
    """Return an object without nulls, with its keys in the order of the JSON library."""
    return in_key_order(without_nulls(value or {}))


def _record(members: Mapping[str, _Reader]) -> _Reader:
    def read(value: Any) -> dict[str, Any]:
        document = value if isinstance(value, Mapping) else {}
        return {name: reader(document.get(name)) for name, reader in members.items()}

    return read


def _records(members: Mapping[str, _Reader]) -> _Reader:
    read = _record(members)
    return lambda value: [read(item) for item in value] if isinstance(value, list) else []


def _texts(*names: str) -> dict[str, _Reader]:
    return dict.fromkeys(names, _same)


_DESCRIPTOR: dict[str, _Reader] = {
    "schemaVersion": _or(0),
    **_texts("pipelineId", "contractVersion", "releaseVersion", "compiledTruthArtifactId"),
    "artifacts": _records(
        {**_texts("artifactId", "kind", "uri", "digest"), **dict.fromkeys(("stepIds", "capabilities"), _or([]))}
    ),
}
_STEP: dict[str, _Reader] = {
    "index": _or(0),
    **_texts("authoredName", "kind", "cardinality", "inputTypeId", "outputTypeId", "runtimeClass", "clientClass"),
    "deferredCompletion": _map,
}
_NODE: dict[str, _Reader] = {
    "index": _or(0),
    **_texts("nodeId", "kind", "inputContractId", "outputContractId", "cardinality"),
    "targetDefinitionId": _or(""),
    "acceptedContractIds": lambda names: list(dict.fromkeys(name.strip() for name in names or ())),
    "terminal": _or(False),
}
_DEFINITION: dict[str, _Reader] = {
    **_texts("definitionId", "definitionFingerprint", "inputContractId", "outputContractId"),
    "nodes": _records(_NODE),
    "continuations": _records({**_texts("nodeId", "kind"), "nextNodeId": _or("")}),
}
_COMMAND: dict[str, _Reader] = {
    **_texts("commandIdGenerator", "duplicatePolicy"),
    "commandPolicy": _map,
    "connectorConfigurationDigest": _or(""),
}
_REQUIREMENT: dict[str, _Reader] = {
    **_texts("name", "kind", "binding", "provider"),
    "providerVersion": _or(0),
    "operations": _records({"id": _same, "version": _or(0)}),
    **_COMMAND,
}
_CALLABLE: dict[str, _Reader] = {
    **_texts("sourceStep", "alias", "requirement", "kind", "binding", "provider"),
    "providerVersion": _or(0),
    "operation": _same,
    "operationVersion": _or(0),
    **_texts("inputType", "outputType"),
    "trustedArguments": _map,
    **_COMMAND,
}
_IMPORTED: dict[str, _Reader] = {
    **_texts("qualifiedId", "logicalName", "namespace", "groupId", "artifactId", "version", "resource"),
    **_texts("definitionFingerprint", "linkedDefinitionFingerprint"),
    "resolvedRequirements": _records(_REQUIREMENT),
    "resolvedCallables": _records(_CALLABLE),
}


def _imported(value: Any) -> list[Any]:
    """Return the imported definitions. The fingerprint of a linked definition is by default that of the definition."""
    imported = _records(_IMPORTED)(value)
    for record in imported:
        if not (record["linkedDefinitionFingerprint"] or "").strip():
            record["linkedDefinitionFingerprint"] = record["definitionFingerprint"]
    return list(imported)


_CONTRACT: dict[str, _Reader] = {
    "schemaVersion": _or(0),
    **_texts("pipelineId", "contractVersion", "contractHash", "platform", "transport", "module"),
    "pluginHost": _or(False),
    "runtimeLayout": _same,
    "steps": _records(_STEP),
    "capabilities": _record({"localTransitionExecution": _or(False), "transitionWorkerProtocols": _or([])}),
    "canonicalTypes": _map,
    "canonicalCatalogFingerprint": _or(""),
    "composition": _record({"rootDefinitionId": _or(""), "definitions": _records(_DEFINITION)}),
    "importedDefinitions": _imported,
    "capabilityImports": lambda value: [_map(entry) for entry in value or ()],
}


# --- the JSON library -----------------------------------------------------------------------------

_ESCAPED = re.compile('[\x00-\x1f"\\\\\U00010000-\U0010ffff]')


def _written(value: Any) -> str:
    """Return `value` as Jackson writes it: without spaces, with few escapes, and these with upper-case digits."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_written(name)}:{_written(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    if isinstance(value, str):
        return f'"{_ESCAPED.sub(_escape, value)}"'
    return _double(value) if isinstance(value, float) else json.dumps(value)


def _escape(match: re.Match[str]) -> str:
    escape = json.dumps(match[0])[1:-1]
    return escape.upper().replace("\\U", "\\u") if "u" in escape else escape


def _double(value: float) -> str:
    """Return the shortest decimal of a double, in the form of Java: 0.5, 1.0E7, 1.25E-5."""
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    shortest = Decimal(repr(value))
    digits = "".join(map(str, shortest.as_tuple().digits)).rstrip("0")
    return f"{'-' * (value < 0)}{digits[0]}.{digits[1:] or '0'}E{shortest.adjusted()}"
