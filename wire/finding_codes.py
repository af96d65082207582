"""What each code of a finding means. `docs/reference/errors.md` is generated from it.

The meaning of a finding that is always a warning begins with *Warning*.
"""

from collections.abc import Mapping
from typing import Final

FINDINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "Any JSON document": {
        "DOCUMENT_TOO_LARGE": "The document has too many bytes.",
        "DOCUMENT_NOT_UTF8": "Not UTF-8.",
        "DOCUMENT_HAS_BOM": "Starts with a byte order mark.",
        "DOCUMENT_NOT_JSON": "Malformed JSON.",
        "DOCUMENT_NOT_OBJECT": "JSON, but not an object.",
        "DOCUMENT_TOO_DEEP": "The nesting is deeper than 64 levels.",
        "DOCUMENT_TOO_MANY_VALUES": "The document has too many values.",
        "DOCUMENT_DUPLICATE_KEY": "An object has the same member twice.",
        "DOCUMENT_NUMBER_OUT_OF_RANGE": "NaN, Infinity, or a number that cannot be represented.",
        "DOCUMENT_BAD_CHARACTER": "U+0000 or an unpaired surrogate, which cannot be stored.",
        "DOCUMENT_TOO_MANY_FINDINGS": "There are more findings than are listed.",
    },
    "Members of descriptor and contract": {
        "DESCRIPTOR_UNKNOWN_MEMBER": "A member that the descriptor does not have.",
        "DESCRIPTOR_MISSING_MEMBER": "A required member is absent or null.",
        "DESCRIPTOR_BLANK_MEMBER": "A required member is blank.",
        "DESCRIPTOR_WRONG_TYPE": "A member is of another JSON type.",
        "DESCRIPTOR_NUMBER_OUT_OF_RANGE": "A number does not fit in 32 bits.",
        "DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED": "`schemaVersion` is not 1.",
        "DESCRIPTOR_NO_ARTIFACTS": "There is no artifact.",
        "DESCRIPTOR_PIPELINE_MISMATCH": "`pipelineId` differs from the one in the path.",
        "CONTRACT_UNKNOWN_MEMBER": "A member that the contract does not have.",
        "CONTRACT_MISSING_MEMBER": "A required member is absent or null.",
        "CONTRACT_BLANK_MEMBER": "A required member is blank.",
        "CONTRACT_WRONG_TYPE": "A member is of another JSON type.",
        "CONTRACT_NUMBER_OUT_OF_RANGE": "A number does not fit in 32 bits.",
        "CONTRACT_SCHEMA_VERSION_UNSUPPORTED": "`schemaVersion` is not 1, 2 or 3.",
        "CONTRACT_TYPE_HAS_NULL": "A canonical type contains null.",
        "IMPORTS_REQUIRE_SCHEMA_VERSION_3": "A contract of an earlier schema version contains `importedDefinitions` or "
        "`capabilityImports`.",
        "CONTRACT_REQUEST_WITHOUT_AWAIT": "A step has `takesRequest`, and the step before it is no await, or a timer.",
        "CONTRACT_CALL_WITHOUT_AWAIT": "A step has `callsPipeline` or `callsRelease`, and is no await over the "
        "transport `pipeline` that names a pipeline.",
        "CONTRACT_CONDITION_WITHOUT_REQUEST": "A step has a `condition` and is no await, or the step after it does not "
        "take its request.",
        "CONTRACT_BRANCHES_INVALID": "The `branching` of a step has another kind than `gather` and `choose`, fewer "
        "than 2 or more than 50 branches, or two of one name.",
        "CONTRACT_HASH_MISMATCH": "*Warning:* the contract's hash does not match its content.",
        "CONTRACT_DIFFERS_BETWEEN_ARTIFACTS": "*Warning:* two artifacts contain different contracts; the last one is "
        "used.",
        "CONTRACT_PIPELINE_MISMATCH": "The separate contract document belongs to another pipeline.",
        "CONTRACT_VERSION_MISMATCH": "The separate contract document has another `contractVersion`.",
        "CONTRACT_DOCUMENT_DIFFERS": "The separate contract document differs from the contract in an artifact.",
        "CONTRACT_CONFLICT": "The contract version is already registered with another document.",
        "IDENTITY_TOO_LONG": "An identity has more than 500 characters.",
        "IDENTITY_MALFORMED": "An identifier contains control, bidirectional or invisible characters, begins or ends "
        "with a space, is not in form NFC, or is `.` or `..`; or an id or version of a pipeline, contract or "
        "release contains a slash.",
    },
    "Composition of a contract": {
        "COMPOSITION_REQUIRES_SCHEMA_VERSION_3": "A contract of an earlier schema version contains a composition.",
        "COMPOSITION_ROOT_MISSING": "There are definitions but no `rootDefinitionId`.",
        "COMPOSITION_DEFINITIONS_MISSING": "There is a `rootDefinitionId` but no definitions.",
        "COMPOSITION_ROOT_UNKNOWN": "No definition has the root's id.",
        "COMPOSITION_DEFINITION_DUPLICATE": "Two definitions have the same id.",
        "COMPOSITION_NODES_EMPTY": "A definition has no nodes.",
        "COMPOSITION_NODE_INDEX": "Node indexes do not count from 0.",
        "COMPOSITION_NODE_DUPLICATE": "Two nodes of a definition have the same id.",
        "COMPOSITION_NODE_KIND": "A node is neither `direct` nor `pipeline`.",
        "COMPOSITION_TARGET_UNEXPECTED": "A `direct` node names a target.",
        "COMPOSITION_TARGET_UNKNOWN": "A `pipeline` node names an unknown definition.",
        "COMPOSITION_CONTINUATION_COUNT": "The number of continuations differs from the number of nodes.",
        "COMPOSITION_CONTINUATION_NODE": "A continuation names a wrong node.",
        "COMPOSITION_CONTINUATION_KIND": "A continuation has a kind that its position does not allow.",
        "COMPOSITION_CONTINUATION_NEXT": "A continuation does not lead to the next node.",
        "COMPOSITION_CYCLE": "Definitions refer to each other in a cycle.",
        "COMPOSITION_UNREACHABLE": "A definition cannot be reached from the root.",
    },
    "Profile tpf-2026-10": {
        "COMPILED_TRUTH_UNKNOWN": "`compiledTruthArtifactId` names none of the artifacts.",
        "COMPILED_TRUTH_WRONG_KIND": "The kind of the carrier cannot carry the contract.",
        "COMPILED_TRUTH_ASSOCIATED": "An artifact of kind `compiled-truth` has `stepIds` or `capabilities`.",
        "COMPILED_TRUTH_MISSING": "The carrier contains no contract.",
        "COMPILED_TRUTH_OTHER_ENTRIES": "An artifact of kind `compiled-truth` has entries outside of "
        "`META-INF/pipeline/`.",
        "COMPILED_TRUTH_DIFFERS": "An archive has an entry in `META-INF/pipeline/` that differs from the carrier's, or "
        "that the carrier does not have.",
        "CONTRACT_DIFFERS_FROM_CARRIER": "The contract in an archive is not byte for byte the one in the carrier.",
        "CONTRACT_WITHOUT_STEPS": "The contract has no steps.",
        "CONTRACT_STEP_UNNAMED": "A step of the contract has no `authoredName`.",
        "CONTRACT_STEP_REPEATED": "Two steps of the contract have the same `authoredName`.",
        "STEP_UNKNOWN": "`stepIds` names a step that the contract does not have.",
        "STEP_NOT_PLACED": "A step of the contract is in the `stepIds` of no artifact.",
        "STEP_PLACED_TWICE": "A step of the contract is in the `stepIds` of several artifacts.",
        "CAPABILITY_UNKNOWN": "An artifact has a capability that the contract does not declare.",
        "CAPABILITY_NOT_COVERED": "No artifact has a capability that the contract declares.",
        "ARTIFACT_ID_MALFORMED": "An `artifactId` contains other characters than ASCII letters, digits, `.`, `_` and "
        "`-`.",
        "ARTIFACT_ID_REPEATED": "Two artifacts have the same `artifactId`.",
        "ARTIFACT_ASSOCIATION_BLANK": "`stepIds` or `capabilities` has a blank entry.",
        "ARTIFACT_ASSOCIATION_REPEATED": "`stepIds` or `capabilities` has an entry twice.",
        "ARTIFACT_URI_SCHEME_UNSUPPORTED": "A `uri` does not begin with `file:`, `maven:` or `oci:`.",
        "ARTIFACT_URI_MALFORMED": "A `uri` does not have the form that its scheme requires.",
        "ARTIFACT_URI_NOT_CANONICAL": "A `uri` is another spelling of a location; the message has the canonical one.",
        "ARTIFACT_URI_WRONG_SCHEME": "The `uri` of an image is not an `oci:` URI, or another artifact has an `oci:` "
        "URI.",
        "ARTIFACT_URI_OTHER_DIGEST": "The digest in an `oci:` URI differs from the artifact's digest.",
        "ARTIFACT_NOT_ARCHIVE": "An artifact of kind `jar`, `application-archive`, `lambda-zip` or `compiled-truth` is "
        "not a zip file.",
        "ARTIFACT_NOT_PROMOTABLE": "A `uri` is a `file:` URI or a Maven snapshot, so other machines cannot rely on "
        "finding the same bytes; a *warning* in an upload that is not a promotion.",
    },
    "Artifacts and archives": {
        "ARTIFACT_KIND_UNSUPPORTED": "The artifact kind is unknown.",
        "ARTIFACT_DIGEST_MALFORMED": "Not `sha256:` and 64 hex digits.",
        "ARTIFACT_DIGEST_UPPER_CASE": "Hex digits must be lower-case.",
        "ARTIFACT_DIGEST_UNUSUAL": "*Warning:* a remote artifact's digest is not 64 lower-case hex digits.",
        "IMAGE_REFERENCE_MALFORMED": "An image's `uri` is not an OCI reference.",
        "IMAGE_REFERENCE_NOT_PINNED": "An image's reference contains no digest.",
        "IMAGE_REFERENCE_OTHER_DIGEST": "The digest in an image's reference differs from the artifact's digest.",
        "IMAGE_MANIFEST_MISSING": "The registry has no manifest with that digest.",
        "IMAGE_MANIFEST_OTHER_DIGEST": "The registry returned a manifest with another digest.",
        "IMAGE_MANIFEST_TOO_LARGE": "The manifest in the registry is larger than 4 MiB.",
        "IMAGE_REGISTRY_UNAVAILABLE": "For `verificationHours` after the upload, the registry gave no usable response; "
        "until then, and next to another error, it is a *warning*.",
        "IMAGE_REGISTRY_DENIED": "The registry denies this coordinator access to the repository.",
        "IMAGE_REGISTRY_NOT_ALLOWED": "The registry is not in `IMAGE_REGISTRIES`, or its address is not allowed.",
        "MAVEN_NOT_CONFIGURED": "No Maven repository is configured for the artifact's group and this tenant.",
        "MAVEN_ARTIFACT_MISSING": "No configured Maven repository has the artifact.",
        "MAVEN_ARTIFACT_OTHER_DIGEST": "A Maven repository has other bytes under the artifact's `uri`.",
        "MAVEN_ARTIFACT_TOO_LARGE": "The artifact in a Maven repository is larger than `MAX_ARTIFACT_BYTES`.",
        "MAVEN_TOO_MANY_ARTIFACTS": "The release names more than 100 artifacts that would have to be downloaded.",
        "MAVEN_REPOSITORY_UNAVAILABLE": "For `verificationHours` after the upload, a Maven repository gave no usable "
        "response; until then, and next to another error, it is a *warning*.",
        "MAVEN_ACCESS_DENIED": "A Maven repository denies this coordinator access to the artifact.",
        "MAVEN_REPOSITORY_NOT_ALLOWED": "The address of a Maven repository, or of a redirect, is not allowed.",
        "MAVEN_SNAPSHOT": "The version is a snapshot, whose bytes can change.",
        "ARTIFACT_FILE_MISSING": "No uploaded file has the artifact's digest.",
        "ARTIFACT_IDENTITY_ONLY": "*Warning:* the artifact's bytes are not stored, which the pipeline's policy allows.",
        "ARTIFACT_DIGEST_MISMATCH": "The bytes do not match the digest.",
        "ARTIFACT_CPU_EXCEEDED": "Verifying the release takes more CPU time than `VERIFICATION_CPU_SECONDS`; the "
        "finding names the artifact that was read last.",
        "ARTIFACT_MEMORY_EXCEEDED": "Verifying the artifact takes more memory than `VERIFICATION_MEMORY_BYTES`.",
        "ARTIFACT_NOT_VERIFIABLE": "Three processes in a row ended while they verified the artifact, or the release "
        "took longer than 15 times `VERIFICATION_CPU_SECONDS`.",
        "ARTIFACT_CONTRACT_MISSING": "A `jar` contains no contract.",
        "ARTIFACT_PYTHON_UNREADABLE": "*Warning:* the artifact's `python.json` is malformed, so its interpreter is not "
        "shown.",
        "ARTIFACT_LOCK_UNREADABLE": "*Warning:* the artifact's `requirements.lock` is malformed, so its locked "
        "distributions are not shown.",
        "ARTIFACT_DECLARATIONS_INVALID": "The artifact's `declarations.json` is malformed, or has a member that this "
        "coordinator does not know.",
        "ARTIFACT_PIPELINE_MISMATCH": "The contract inside belongs to another pipeline.",
        "ARTIFACT_CONTRACT_VERSION_MISMATCH": "The contract inside has another version.",
        "UPLOAD_SIZE_MISMATCH": "The size of a direct upload differs from the declared size.",
        "UPLOAD_DIGEST_MISMATCH": "The digest of a direct upload differs from the declared digest.",
        "UPLOAD_GONE": "A direct upload is no longer in the artifact store.",
        "UPLOAD_MATCHES_NO_ARTIFACT": "The descriptor does not contain the digest of an uploaded file.",
        "ARCHIVE_MALFORMED": "Not a well-formed zip file, or one whose end records, names or extra fields readers "
        "could understand differently.",
        "ARCHIVE_AMBIGUOUS": "An entry uses a feature that only some readers support, so readers would see different "
        "files.",
        "ARCHIVE_TRUNCATED": "A zip file that is truncated.",
        "ARCHIVE_PREPENDED": "There are bytes before the archive, as in a self-extracting executable.",
        "ARCHIVE_TOO_MANY_ENTRIES": "Too many entries, including those of archives inside.",
        "ARCHIVE_DIRECTORY_TOO_LARGE": "The directory is too large.",
        "ARCHIVE_DUPLICATE_NAME": "Two entries, or a file and a folder, have the same name.",
        "ARCHIVE_NAME_TOO_LONG": "An entry's name is too long.",
        "ARCHIVE_NAME_ABSOLUTE": "An entry's name is absolute.",
        "ARCHIVE_NAME_CLIMBS_OUT": "An entry's name refers to a location outside of the archive.",
        "ARCHIVE_NAME_UNSAFE": "An entry's name is empty, contains an empty part, a part `.`, a backslash, or control "
        "or invisible characters, ends in `;` and a number, or is that of a file in `META-INF/pipeline/` in another "
        "case.",
        "ARCHIVE_ENTRIES_OVERLAP": "An entry overlaps another entry or the directory.",
        "ARCHIVE_HEADERS_DISAGREE": "The directory and the headers of the entries differ, or there are bytes between "
        "the entries.",
        "ARCHIVE_SIZE_WRONG": "The unpacked size of an entry differs from the size in the directory.",
        "ARCHIVE_CHECKSUM_WRONG": "The CRC-32 of an unpacked entry differs from the one in the directory.",
        "ARCHIVE_RATIO_TOO_HIGH": "The compression ratio of an entry is too high.",
        "ARCHIVE_UNPACKS_TOO_LARGE": "The total unpacked size of all entries, including those of archives inside, is "
        "too large.",
        "ARCHIVE_NESTED_TOO_DEEP": "Archives are nested too deeply.",
        "ARCHIVE_NESTED_TOO_LARGE": "Compressed archives inside are too large.",
        "ARCHIVE_METHOD_UNSUPPORTED": "An entry uses a compression method other than stored or deflated.",
        "ARCHIVE_ENCRYPTED": "An entry is encrypted.",
        "ARCHIVE_NOT_A_FILE": "An entry is a link or a device.",
        "ARCHIVE_CONTRACT_TOO_LARGE": "The contract is too large.",
    },
    "Signatures, provenance and bills of materials": {
        "ATTACHMENT_KIND_UNKNOWN": "Neither a DSSE envelope, in-toto statement, CycloneDX nor SPDX document, or an "
        "envelope with another payload type.",
        "ATTACHMENT_MISSING_MEMBER": "A required member is absent.",
        "ATTACHMENT_BLANK_MEMBER": "A required member is blank.",
        "ATTACHMENT_WRONG_TYPE": "A member is of another JSON type.",
        "ATTACHMENT_NUMBER_OUT_OF_RANGE": "A number does not fit in 32 bits.",
        "ENVELOPE_NOT_BASE64": "The payload or a signature is not base64.",
        "ENVELOPE_SIGNATURE_COUNT": "An envelope must have 1 to 16 signatures.",
        "SIGNATURE_OTHER_DESCRIPTOR": "The signed document is not the release's descriptor.",
        "PROVENANCE_UNSUPPORTED": "Not an in-toto Statement v1 with SLSA Provenance v1; in an activation history, an "
        "unknown type, kind or form of a time.",
        "PROVENANCE_DIGEST_MALFORMED": "In the provenance of an execution, a digest is not a lower-case SHA-256.",
        "ARTIFACT_NOT_REPORTED": "In the same document, a worker names no artifact.",
        "ARTIFACT_AS_REGISTERED": "In the same document, a worker that is called over HTTP was registered with this "
        "artifact.",
        "ARTIFACT_NOT_PINNED": "In the same document, the release does not pin the artifact that a worker reported.",
        "PROVENANCE_NO_SUBJECT": "The statement has no subject.",
        "PROVENANCE_SUBJECT_UNKNOWN": "A subject has no SHA-256, or one of no artifact of the release.",
        "PROVENANCE_ARTIFACT_UNCOVERED": "*Warning:* the provenance does not cover a stored artifact.",
        "SBOM_FORMAT_UNSUPPORTED": "Not CycloneDX 1.x, SPDX 2.2 or SPDX 2.3.",
        "SBOM_SUBJECT_UNKNOWN": "The subject of the SBOM has a SHA-256 of no artifact of the release.",
    },
    "Only in pipelines verify-release": {
        "ARTIFACT_NOT_IN_RELEASE": "A file of `--artifact` is no artifact of the release.",
        "REPOSITORY_UNREACHABLE": "A Maven repository gave no usable response.",
        "REPOSITORY_DENIED": "A Maven repository denies access to the artifact.",
        "PROFILE_NOT_PROMOTABLE": "With `--promotable`: the descriptor has the profile `tpf-2026-08`.",
    },
}
"""The meaning of each code, by what it is about."""
