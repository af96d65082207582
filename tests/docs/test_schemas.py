import json
from pathlib import Path
from zipfile import ZipFile

import jsonschema  # type: ignore[import-untyped]
import pytest

from embedded.product import PROJECT
from pipelines.cli import main as run_pipelines
from tests.cases import cases
from tests.docs.commands import text_of
from tests.unit.wire.documents import examples, test_contracts, test_descriptors
from wire.documents.contract import CONTRACT_ENTRY
from wire.documents.descriptor import DESCRIPTOR_NAME, Profile

OF_FORM = (
    *(
        "UNKNOWN_MEMBER",
        "MISSING_MEMBER",
        "BLANK_MEMBER",
        "WRONG_TYPE",
        "OUT_OF_RANGE",
        "VERSION_UNSUPPORTED",
        "TOO_LONG",
    ),
    *("NO_ARTIFACTS", "KIND_UNSUPPORTED", "ID_MALFORMED", "SCHEME_UNSUPPORTED", "ASSOCIATION_BLANK", "REPEATED"),
)
"""The ends of the codes of findings that a schema can see."""


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads(text_of(f"docs/reference/schemas/{name}.schema.json"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


CONTRACTS, RELEASES = validator("pipeline-contract"), validator("pipeline-release")


@cases("profile", Profile)
@cases("example", ["orders", "payments", "payments_v2"])
def test_the_schemas_accept_the_documents_of_the_examples(example: str, profile: Profile, tmp_path: Path) -> None:
    source = str(PROJECT / "examples" / example / "pipeline.py")
    options = ["--release-version=1.0", f"--profile={profile}", f"--out={tmp_path}"]
    assert run_pipelines(["release", source, *options]) == 0
    RELEASES.validate(json.loads((tmp_path / "1.0" / DESCRIPTOR_NAME).read_bytes()))
    [artifact] = (tmp_path / "1.0").glob("*.zip")
    with ZipFile(artifact) as archive:
        CONTRACTS.validate(json.loads(archive.read(CONTRACT_ENTRY)))


@pytest.mark.parametrize(
    ("schema", "document", "broken"),
    [
        (CONTRACTS, examples.CONTRACT, test_contracts.BROKEN),
        (CONTRACTS, examples.COMPOSED, []),
        (CONTRACTS, {**test_contracts.MINIMAL, **dict.fromkeys(test_contracts.DEFAULTS)}, []),
        (RELEASES, examples.OLDER, [*test_descriptors.IN_BOTH, *test_descriptors.IN_THE_OLDER]),
        (RELEASES, examples.NEWER, [*test_descriptors.IN_BOTH, *test_descriptors.IN_THE_NEWER]),
    ],
)
def test_the_schemas_refuse_what_the_models_refuse(
    schema: jsonschema.Draft202012Validator, document: examples.Document, broken: list[tuple[str, str, list[object]]]
) -> None:
    schema.validate(document)
    accepted = [
        (code, field, value)
        for code, field, value in examples.rows(broken)
        if code.endswith(OF_FORM)
        and not isinstance(value, float)
        and schema.is_valid(examples.changed(document, field, value))
    ]
    assert accepted == []
