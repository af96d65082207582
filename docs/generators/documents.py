"""The pages and the JSON schemas of `pipeline-contract.json` and `pipeline-release.json`, from their models."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic.fields import FieldInfo

from docs.generators.markdown import code, codes, joined, table
from wire.documents import branching, contract, descriptor
from wire.documents.branching import Branch, Branching
from wire.documents.composition import Composition, Continuation, Definition, Node
from wire.documents.contract import Capabilities, Contract, Step
from wire.documents.descriptor import (
    KINDS,
    ArtifactKind,
    ArtifactRef,
    CarrierDescriptor,
    Descriptor,
    LocatedArtifactRef,
    Profile,
)
from wire.documents.member_meanings import MEANINGS
from wire.documents.shape import Document

Schema = dict[str, Any]
OLDER, NEWER = Profile.TPF_2026_08, Profile.TPF_2026_10
NOT_BLANK: Final = {"pattern": r"\S"}
SEGMENT: Final = {"pattern": r"^[^/]*[^/\s][^/]*$"}
DIGEST: Final = {"pattern": "^sha256:[0-9a-f]{64}$"}
"""The form of the digest of stored artifacts."""
ASSOCIATION: Final = {"uniqueItems": True, "items": {"type": "string", **NOT_BLANK}}


def _in_any_case(texts: list[str]) -> str:
    letters = ("".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in text) for text in texts)
    return f"^({'|'.join(letters)})$"


RULES: Final[Mapping[tuple[str, str], Schema]] = {
    ("Contract", "schemaVersion"): {"enum": [1, 2, 3]},
    ("Contract", "pipelineId"): SEGMENT,
    ("Contract", "contractVersion"): SEGMENT,
    ("Step", "callsPipeline"): SEGMENT,
    ("Step", "callsRelease"): SEGMENT,
    ("Branching", "kind"): {"enum": [branching.GATHER, branching.CHOOSE]},
    ("Branching", "branches"): {"minItems": 2, "maxItems": branching.MOST_BRANCHES},
    ("Descriptor", "schemaVersion"): {"const": 1},
    ("Descriptor", "pipelineId"): SEGMENT,
    ("Descriptor", "contractVersion"): SEGMENT,
    ("Descriptor", "releaseVersion"): SEGMENT,
    ("Descriptor", "artifacts"): {"minItems": 1},
    ("ArtifactRef", "kind"): {"type": "string", "pattern": _in_any_case([*KINDS[OLDER]])},
    ("ArtifactRef", "digest"): {"pattern": "^sha256:"},
    ("LocatedArtifactRef", "kind"): {"type": "string", "enum": [*KINDS[NEWER]]},
    ("LocatedArtifactRef", "artifactId"): {"pattern": "^[A-Za-z0-9_.-]+$"},
    ("LocatedArtifactRef", "uri"): {"pattern": "^(file|maven|oci):"},
    ("LocatedArtifactRef", "digest"): DIGEST,
    ("LocatedArtifactRef", "stepIds"): ASSOCIATION,
    ("LocatedArtifactRef", "capabilities"): ASSOCIATION,
}
"""What validators of the models demand. The generation of schemas does not see it."""
REQUIRED: Final = {("Contract", "schemaVersion"), ("Descriptor", "schemaVersion"), ("Descriptor", "artifacts")}
"""Members whose defaults are not valid."""
NAMES: Final = {"CarrierDescriptor": "Descriptor", "LocatedArtifactRef": "ArtifactRef"}
"""The model that has the meanings of the members of another one."""

DOCUMENTS: Final = {
    definition.__name__: definition
    for definition in (
        *(Contract, Step, Capabilities, Branching, Branch, Composition, Definition, Node, Continuation),
        *(Descriptor, CarrierDescriptor, ArtifactRef, LocatedArtifactRef),
    )
}


def contract_schema() -> str:
    return _text("pipeline-contract.json", _defined(Contract))


def release_schema() -> str:
    older, newer = _defined(Descriptor), _defined(CarrierDescriptor)
    definitions = {**older.pop("$defs"), **newer.pop("$defs"), "Descriptor": older, "CarrierDescriptor": newer}
    return _text(
        "pipeline-release.json",
        {
            "$defs": definitions,
            "type": "object",
            "if": {"required": ["compiledTruthArtifactId"]},
            "then": {"$ref": "#/$defs/CarrierDescriptor"},
            "else": {"$ref": "#/$defs/Descriptor"},
        },
    )


def _text(title: str, schema: Schema) -> str:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return json.dumps({**head, **schema}, indent=2, ensure_ascii=False) + "\n"


def _defined(model: type[Document]) -> Schema:
    """Return the schema of a model with the meaning of each member, and with null where a member may be missing."""
    schema = model.model_json_schema(by_alias=True)
    schema.get("$defs", {}).pop(ArtifactKind.__name__, None)
    for name, definition in {**schema.get("$defs", {}), model.__name__: schema}.items():
        definition.pop("title", None)
        definition.pop("description", None)
        definition["properties"] = {
            str(field.alias): _member(name, field, definition["properties"][field.alias])
            for field in DOCUMENTS[name].model_fields.values()
        }
        definition["required"] = [
            member for member, described in definition["properties"].items() if "default" not in described
        ]
    return schema


def _member(model: str, field: FieldInfo, described: Schema) -> Schema:
    base, member = NAMES.get(model, model), str(field.alias)
    meaning = MEANINGS[base][member]
    [schema] = [choice for choice in described.pop("anyOf", [described]) if choice != {"type": "null"}]
    kept = {name: value for name, value in schema.items() if name not in ("title", "description", "default")}
    kept |= RULES.get((model, member)) or RULES.get((base, member)) or {}
    if "enum" in kept or "pattern" in kept:
        kept.pop("$ref", None)
    if not field.is_required() and (base, member) not in REQUIRED:
        return {"description": meaning, "default": _default(field), "anyOf": [kept, {"type": "null"}]}
    return {"description": meaning, **(NOT_BLANK if kept.get("type") == "string" else {}), **kept}


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True)
    return value.normalised() if isinstance(value, Document) else [*value] if isinstance(value, tuple) else value


# --- Pages -----------------------------------------------------------------------------------------------------------

CONTRACT: Final = f"""\
# pipeline-contract.json

The contract of a pipeline: what its steps take, give and are called. It has at most
{contract.MAX_CONTRACT_BYTES // 2**20} MiB, and is this entry of an artifact:
`{contract.CONTRACT_ENTRY}`.
"""
FORM: Final = """\
Unknown members are rejected. An optional member that is missing or null has its default. The [JSON
Schema](schemas/{name}) checks this form. The coordinator checks the rest and answers with
[findings](errors.md#findings).
"""
HASH: Final = """\
`contractHash` is the SHA-256 in lower-case hex of the document as compact JSON in UTF-8. The document has neither
`contractVersion` nor `contractHash` and no null members. Its members are in the order of these tables, with
`capabilities` at the end. `branching` and objects without a table here have sorted keys.
"""
ENTRIES: Final = """\
An artifact of a Python pipeline has more entries next to its contract. All are optional.
"""
RELEASE: Final = f"""\
# pipeline-release.json

The descriptor of a release: the contract that it implements, and the artifacts that it pins by their digests. It has
at most {descriptor.MAX_DESCRIPTOR_BYTES // 2**20} MiB. The coordinator stores its exact bytes, and their SHA-256
identifies what was released. Signatures are next to it in `{descriptor.ENVELOPE_NAME}`.
"""
PROFILES: Final = """\
A descriptor with the member `compiledTruthArtifactId` has the profile `tpf-2026-10`. Any other one has the profile
`tpf-2026-08`.

| | tpf-2026-08 | tpf-2026-10 |
|---|---|---|
| contract | in any artifact, or uploaded separately | in the artifact that `compiledTruthArtifactId` names |
| `uri` | any text | a canonical `file:`, `maven:` or `oci:` URI |
| `stepIds` | not interpreted | each step of the contract in exactly one artifact |
| `capabilities` | not interpreted | together all that the contract names |
| `kind` | in any case | in lower case |
| `digest` of kinds that are not stored | any text after `sha256:` | that of the image |
| promotion to another coordinator | not possible | possible without `file:` URIs and Maven snapshots |
"""
URIS: Final = """\
| kinds | form of the `uri` in tpf-2026-10 |
|---|---|
| images | `oci://registry/repository@sha256:…` |
| all others | `file:///absolute/path`, or `maven:group:artifact[:extension[:classifier]]:version` |
"""


def contract_page() -> str:
    schema = _defined(Contract)
    rows = (
        (contract.PYTHON_ENTRY, "The pipeline as `MODULE:NAME`, and the interpreter for which the artifact was built."),
        (contract.LOCK_ENTRY, "The distributions that the code needs, with exact versions."),
        (contract.CAPABILITIES_ENTRY, "What the code requires of its coordinator: a list of names."),
        (contract.DECLARATIONS_ENTRY, "What the code declares besides its contract, such as search fields."),
    )
    return joined(
        CONTRACT,
        FORM.format(name="pipeline-contract.schema.json"),
        *("## Contract", _members("Contract", schema)),
        *(part for name in _order(schema, schema) for part in (f"## {name}", _members(name, schema["$defs"][name]))),
        *("## The hash", HASH),
        *("## Other entries of an artifact", ENTRIES, table(("entry", "content"), ((code(a), b) for a, b in rows))),
    )


def release_page() -> str:
    schema = _defined(CarrierDescriptor)
    kinds = (
        (
            code(kind),
            ", ".join(profile for profile in Profile if kind in KINDS[profile]),
            "yes" if kind.is_stored else "no",
            "yes" if kind.may_carry_contract else "no",
        )
        for kind in ArtifactKind
    )
    return joined(
        RELEASE,
        FORM.format(name="pipeline-release.schema.json"),
        *("## Descriptor", _members("Descriptor", schema)),
        *("## Artifact", _members("ArtifactRef", schema["$defs"]["LocatedArtifactRef"])),
        "## Profiles",
        PROFILES,
        "## Kinds of artifacts",
        table(("kind", "profiles", "bytes are stored", "may carry the contract in tpf-2026-10"), kinds),
        URIS,
    )


def _order(definition: Schema, schema: Schema) -> list[str]:
    """Return the definitions in the order in which the members refer to them, each followed by its own."""
    names: list[str] = []
    for name in re.findall(r'"#/\$defs/(\w+)"', json.dumps(definition["properties"])):
        names += [name, *_order(schema["$defs"][name], schema)]
    return names


def _members(model: str, schema: Schema) -> str:
    rows = (
        (
            code(name),
            _type(member),
            _json(member["default"]) if "default" in member else "required",
            member["description"],
        )
        for name, member in schema["properties"].items()
    )
    return table(("member", "type", "default", "meaning"), rows)


def _json(value: Any) -> str:
    return code(json.dumps(value))


def _type(schema: Schema) -> str:
    kept = schema["anyOf"][0] if "anyOf" in schema else schema
    if "const" in kept or "enum" in kept:
        return codes(map(str, kept.get("enum") or [kept["const"]]))
    if "$ref" in kept:
        name = kept["$ref"].rpartition("/")[2].replace("LocatedArtifactRef", "Artifact")
        return f"[{name}](#{name.lower()})"
    match kept["type"]:
        case "array":
            items = _type(kept["items"])
            return f"list of {items}"
        case "string" if "maxLength" in kept:
            return f"text, at most {kept['maxLength']} characters"
        case "string":
            return "text"
        case "boolean":
            return "true or false"
        case "integer":
            return "integer of 32 bits"
    return "object"
