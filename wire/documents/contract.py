"""`pipeline-contract.json`: the semantics of a pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from wire.documents.branching import Branching
from wire.documents.composition import Composition, Continuation, Definition, Node, broken_rules
from wire.documents.json_reader import Dialect, Path, bounded, inspect_value, scan
from wire.documents.json_writer import compact, fingerprint, in_key_order
from wire.documents.shape import (
    ArrayOrNull,
    Document,
    Flag,
    IdentifierOrNull,
    Int32,
    ObjectOrNull,
    RequiredText,
    SegmentIdentity,
    TextOrEmpty,
    Texts,
    null_as,
    shape,
)
from wire.findings import DocumentError, Finding, Severity

CONTRACT_NAME = "pipeline-contract.json"
CONTRACT_ENTRY = f"META-INF/pipeline/{CONTRACT_NAME}"
"""The zip entry of an artifact that contains the contract."""
PYTHON_ENTRY = "META-INF/pipeline/python.json"
"""Names the pipeline in the artifact as MODULE:NAME, and the interpreter for which it was built."""
LOCK_ENTRY = "META-INF/pipeline/requirements.lock"
"""The distributions that the code needs, with exact versions."""
CAPABILITIES_ENTRY = "META-INF/pipeline/capabilities.json"
"""What the code requires of its coordinator: a list of names."""
DECLARATIONS_ENTRY = "META-INF/pipeline/declarations.json"
"""What the code declares besides its contract (see `wire.documents.declarations`)."""
TIMER = "timer"
"""The transport of awaits that end automatically, so no person or system reads their requests."""
CHILD = "pipeline"
"""The transport of awaits whose requests are inputs of another pipeline, and whose answers its results (ADR 129)."""
AUTOMATIC = (TIMER, CHILD)
"""The transports of awaits that the coordinator answers itself."""
MAX_CONTRACT_BYTES = 4 * 1024 * 1024

_DIALECT = Dialect(name=CONTRACT_NAME, code="CONTRACT", preamble=f"Invalid {CONTRACT_ENTRY} JSON: ")
_NEWEST_SCHEMA = 3

_HASHED = (
    "schemaVersion",
    "pipelineId",
    "platform",
    "transport",
    "module",
    "pluginHost",
    "runtimeLayout",
    "steps",
    "canonicalTypes",
    "canonicalCatalogFingerprint",
    "composition",
    "importedDefinitions",
    "capabilityImports",
    "capabilities",
)
_NEWER_MEMBERS = ("importedDefinitions", "capabilityImports")
"""Members that builds write since October 2026. The coordinator stores them and does not interpret them."""


def _supported_schema(version: int) -> int:
    if not 1 <= version <= _NEWEST_SCHEMA:
        raise PydanticCustomError(
            "CONTRACT_SCHEMA_VERSION_UNSUPPORTED",
            "Unsupported pipeline contract schemaVersion {version}",
            {"version": version},
        )
    return version


_DEFAULT_CAPABILITIES = {
    "localTransitionExecution": True,
    "transitionWorkerProtocols": ["local", "rest", "grpc", "sqs"],
}


class Step(Document):
    """One step of the pipeline. Every member may be missing. `MEANINGS` explains them."""

    index: Int32 = 0
    authored_name: IdentifierOrNull = None
    kind: Annotated[str, null_as("internal")] = "internal"
    cardinality: IdentifierOrNull = None
    input_type_id: IdentifierOrNull = None
    output_type_id: IdentifierOrNull = None
    runtime_class: IdentifierOrNull = None
    client_class: IdentifierOrNull = None
    await_transport: IdentifierOrNull = None
    deferred_completion: dict[str, Any] | None = None
    takes_request: bool | None = None
    branching: Branching | None = None
    condition: IdentifierOrNull = None
    calls_pipeline: SegmentIdentity | None = None
    calls_release: SegmentIdentity | None = None


class Capabilities(Document):
    """The kinds of workers that may execute the pipeline's transitions."""

    local_transition_execution: Flag = False
    transition_worker_protocols: Texts = ()


class Contract(Document):
    """A contract that follows all rules, with defaults."""

    schema_version: Annotated[Int32, AfterValidator(_supported_schema)] = 0
    pipeline_id: SegmentIdentity
    contract_version: SegmentIdentity
    contract_hash: RequiredText
    platform: str | None = None
    transport: str | None = None
    module: str | None = None
    plugin_host: Flag = False
    runtime_layout: str | None = None
    steps: Annotated[tuple[Step, ...], ArrayOrNull] = ()
    capabilities: Annotated[Capabilities, null_as(_DEFAULT_CAPABILITIES)] = Field(
        default_factory=lambda: Capabilities.model_validate(_DEFAULT_CAPABILITIES)
    )
    canonical_types: Annotated[dict[str, dict[str, Any]], ObjectOrNull] = Field(default_factory=dict)
    canonical_catalog_fingerprint: TextOrEmpty = ""
    composition: Annotated[Composition, ObjectOrNull] = Field(default_factory=Composition)
    imported_definitions: Annotated[tuple[dict[str, Any], ...], ArrayOrNull] = ()
    capability_imports: Annotated[tuple[dict[str, Any], ...], ArrayOrNull] = ()

    def normalised(self) -> dict[str, Any]:
        """Return the document as JSON values, with defaults and nulls.

        Members that existing clients of `/tpf` do not know are left out if they say nothing: older clients refuse them.
        """
        document = super().normalised()
        for name in _NEWER_MEMBERS:
            if not document[name]:
                del document[name]
        for step in document["steps"]:
            if step["deferredCompletion"] is None:
                del step["deferredCompletion"]
            if not step["takesRequest"]:
                del step["takesRequest"]
            for name in ("branching", "condition", "callsPipeline", "callsRelease"):
                if step[name] is None:
                    del step[name]
        return document

    @property
    def result_shape(self) -> ResultShape:
        """The shape of an execution's result, which follows from the steps' cardinalities."""
        return result_shape(step.cardinality for step in self.steps)


_ORDERED_BY: dict[str, type[Document]] = {
    "steps": Step,
    "composition": Composition,
    "definitions": Definition,
    "nodes": Node,
    "continuations": Continuation,
    "capabilities": Capabilities,
}
"""The models that determine the order of members in the hash, by the member that contains them."""


# --- reading --------------------------------------------------------------------------------------


def parse_contract(data: bytes) -> Contract:
    """Return the contract in `data`, at most MAX_CONTRACT_BYTES of strict JSON.

    Raises only DocumentError, with all findings. Each message begins with `_DIALECT.preamble`.
    """
    document, findings = scan(data, name=_DIALECT.name, limit=MAX_CONTRACT_BYTES)
    return _read(document, findings)


def contract_from_json(document: Mapping[str, Any]) -> Contract:
    """Return the contract of an object that is already parsed, such as a stored normalised document.

    The rules are those of `parse_contract`. Raises DocumentError with all findings.
    """
    return _read(document, inspect_value(document, _DIALECT.name))


def _read(document: Mapping[str, Any] | None, scanned: tuple[Finding, ...]) -> Contract:
    findings = [_DIALECT.introduced(finding) for finding in scanned]
    contract = None
    if document is not None:
        contract, shaped = shape(Contract, document, _DIALECT)
        findings += [*shaped, *_cross_findings(document, contract)]
    if contract is None or findings:
        raise DocumentError(bounded(findings, _DIALECT.name))
    return contract


def _cross_findings(document: Mapping[str, Any], contract: Contract | None) -> Iterator[Finding]:
    """Yield findings about several members together. Parts with a wrong shape have findings already."""
    types = document.get("canonicalTypes")
    for path in _nulls(types):
        yield _DIALECT.finding("CONTRACT_TYPE_HAS_NULL", ("canonicalTypes", *path), "null inside a canonical type")
    version = document.get("schemaVersion")
    for name in _NEWER_MEMBERS:
        if version in (1, 2) and document.get(name) and isinstance(document[name], list):
            message = f"{name} requires contract schemaVersion 3"
            yield _DIALECT.finding("IMPORTS_REQUIRE_SCHEMA_VERSION_3", (name,), message)
    yield from _step_findings(() if contract is None else contract.steps)
    composition, broken = shape(Composition, document.get("composition") or {}, _DIALECT)
    if composition is None or broken:
        return
    if not composition.is_empty and version in (1, 2):
        message = "Pipeline composition requires contract schemaVersion 3"
        yield _DIALECT.finding("COMPOSITION_REQUIRES_SCHEMA_VERSION_3", ("composition",), message)
    for code, path, message in broken_rules(composition):
        yield _DIALECT.finding(code, ("composition", *path), message)


def _step_findings(steps: Sequence[Step]) -> Iterator[Finding]:
    """Yield findings about awaits and the steps after them."""
    for place, (before, step) in enumerate(zip((None, *steps), (*steps, None), strict=True)):
        asks = before is not None and before.kind == "await" and before.await_transport != TIMER
        takes_request = step is not None and step.takes_request
        if takes_request and not asks:
            code, at = "CONTRACT_REQUEST_WITHOUT_AWAIT", ("steps", place, "takesRequest")
            yield _DIALECT.finding(code, at, "only a step directly after an await takes its request")
        if before is not None and before.condition and not (asks and takes_request):
            code, at = "CONTRACT_CONDITION_WITHOUT_REQUEST", ("steps", place - 1, "condition")
            yield _DIALECT.finding(code, at, "only an await has a condition, and the step after it takes its request")
        if before is not None and (before.calls_pipeline or before.calls_release) and _is_wrong_call(before):
            code, at = "CONTRACT_CALL_WITHOUT_AWAIT", ("steps", place - 1, "callsPipeline")
            yield _DIALECT.finding(
                code, at, f"only an await over the transport {CHILD!r} calls a release of a pipeline"
            )


def _is_wrong_call(step: Step) -> bool:
    return step.kind != "await" or step.await_transport != CHILD or not step.calls_pipeline


def _nulls(types: Any) -> Iterator[Path]:
    """Yield the path of every null inside an entry of `canonicalTypes`, at any depth."""
    if not isinstance(types, dict):
        return
    pending: list[tuple[Path, Any]] = [((name,), entry) for name, entry in types.items() if entry is not None]
    while pending:
        path, value = pending.pop()
        if value is None:
            yield path
        elif isinstance(value, dict):
            pending.extend(((*path, key), member) for key, member in value.items())
        elif isinstance(value, list):
            pending.extend(((*path, index), item) for index, item in enumerate(value))


# --- identity -------------------------------------------------------------------------------------


def contract_hash(document: Mapping[str, Any]) -> str:
    """Return the lower-case hex SHA-256 of `hash_input`."""
    return fingerprint(_hashed(document))


def hash_input(document: Mapping[str, Any]) -> bytes:
    """Return the bytes that a contract's hash covers.

    `document` is the raw object. No defaults are filled in, and nulls are dropped at every depth. `contractVersion`,
    `contractHash` and unknown members of the top level are left out. The order of members in `document` does not
    matter, so a store that reorders them does not change the hash.
    """
    return compact(_hashed(document))


def hash_findings(document: Mapping[str, Any]) -> list[Finding]:
    """Return a CONTRACT_HASH_MISMATCH warning if the raw document does not have the hash that it names.

    This is only a warning, because readers treat the hash as opaque.
    """
    actual = contract_hash(document)
    if document.get("contractHash") == actual:
        return []
    message = f"contractHash is not the hash of this document, which is {actual}"
    return [Finding("CONTRACT_HASH_MISMATCH", f"{_DIALECT.name}#contractHash", message, severity=Severity.WARNING)]


def publish(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document to publish: ordered, without nulls, with `contractVersion` and `contractHash`.

    These two follow `pipelineId`, and replace those of `document`.
    """
    digest = contract_hash(document)
    published: dict[str, Any] = {}
    for name, value in _hashed(document).items():
        published[name] = value
        if name == "pipelineId":
            published["contractVersion"] = f"sha256:{digest}"
            published["contractHash"] = digest
    return published


def canonical_catalog_fingerprint(types: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of the compact JSON of `canonicalTypes` with sorted keys."""
    return fingerprint(in_key_order(types))


def _hashed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that the hash covers, in the generator's order and without nulls."""
    ordered: dict[str, Any] = {}
    for name in _HASHED:
        value = without_nulls(document.get(name))
        if value is not None:
            ordered[name] = _member_order(name, value)
    return ordered


def _member_order(name: str, value: Any) -> Any:
    if name in ("canonicalTypes", *_NEWER_MEMBERS):
        return in_key_order(value)
    model = _ORDERED_BY.get(name)
    return value if model is None else _ordered_by(model, value)


def _ordered_by(model: type[Document], value: Any) -> Any:
    """Return `value` with the members of each object in the order of its model."""
    if isinstance(value, list):
        return [_ordered_by(model, item) for item in value]
    if not isinstance(value, dict):
        return value
    ordered = {}
    for name in (field.alias for field in model.model_fields.values()):
        if name is not None and name in value:
            inner = _ORDERED_BY.get(name)
            ordered[name] = in_key_order(value[name]) if inner is None else _ordered_by(inner, value[name])
    return ordered


def without_nulls(value: Any) -> Any:
    """Return `value` without the members of objects that are null, at any depth."""
    if isinstance(value, dict):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


ResultShape = Literal["SINGLE", "MATERIALIZED_MULTI"]
"""Whether an execution has one result or a list of results."""


def takes_many(cardinality: str | None) -> bool:
    """Return True if one call of the step, or one request of the await, receives a whole stream."""
    return cardinality in ("MANY_TO_ONE", "MANY_TO_MANY", "REDUCTION")


def gives_many(cardinality: str | None) -> bool:
    """Return True if the step, or the response to the await, returns a stream."""
    return cardinality in ("ONE_TO_MANY", "MANY_TO_MANY", "EXPANSION")


def ends_in_stream(cardinalities: Iterable[str | None]) -> bool:
    """Return True if one value that passes through these steps becomes a stream.

    A step of any other cardinality maps one value to one value, and a stream to a stream.
    """
    many = False
    for cardinality in cardinalities:
        many = gives_many(cardinality) or (many and not takes_many(cardinality))
    return many


def result_shape(cardinalities: Iterable[str | None]) -> ResultShape:
    """Return the shape of the result of an execution of these steps."""
    return "MATERIALIZED_MULTI" if ends_in_stream(cardinalities) else "SINGLE"
