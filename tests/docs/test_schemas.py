import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import jsonschema  # type: ignore[import-untyped]
import pytest

from pipelines.cli import main as run_pipelines
from tests.cases import cases
from tests.docs.commands import ROOT, text_of
from tests.unit.wire.documents import examples, test_contracts, test_descriptors
from wire.documents.contract import CONTRACT_ENTRY
from wire.documents.descriptor import Profile

OF_FORM = ("_MEMBER", "_TYPE", "_RANGE", "_UNSUPPORTED", "TOO_LONG", "ID_MALFORMED", "ASSOCIATION_BLANK", "REPEATED")
"""The ends of the codes of findings that a schema can see."""
CONTRACTS, RELEASES = (
    jsonschema.Draft202012Validator(json.loads(text_of(f"docs/reference/schemas/{name}.schema.json")))
    for name in ("pipeline-contract", "pipeline-release")
)


@cases("profile", Profile)
@cases("example", ["orders", "payments", "payments_v2"])
def test_the_schemas_accept_the_documents_of_the_examples(example: str, profile: Profile, tmp_path: Path) -> None:
    options = ["--release-version=1.0", f"--profile={profile}", f"--out={tmp_path}"]
    assert run_pipelines(["release", str(ROOT / "examples" / example / "pipeline.py"), *options]) == 0
    RELEASES.validate(json.loads((tmp_path / "1.0/pipeline-release.json").read_bytes()))
    [artifact] = (tmp_path / "1.0").glob("*.zip")
    CONTRACTS.validate(json.loads(ZipFile(artifact).read(CONTRACT_ENTRY)))


@pytest.mark.parametrize(
    ("schema", "document", "broken"),
    [
        (CONTRACTS, examples.CONTRACT, test_contracts.BROKEN),
        (CONTRACTS, {**test_contracts.MINIMAL, **dict.fromkeys(test_contracts.DEFAULTS)}, []),
        (RELEASES, examples.OLDER, [*test_descriptors.IN_BOTH, *test_descriptors.IN_THE_OLDER]),
        (RELEASES, examples.NEWER, [*test_descriptors.IN_BOTH, *test_descriptors.IN_THE_NEWER]),
    ],
)
def test_the_schemas_refuse_what_the_models_refuse(schema: Any, document: examples.Document, broken: Any) -> None:
    schema.validate(document)
    rows = [row for row in examples.rows(broken) if row[0].endswith(OF_FORM) and not isinstance(row[2], float)]
    assert [row for row in rows if schema.is_valid(examples.changed(document, *row[1:]))] == []
