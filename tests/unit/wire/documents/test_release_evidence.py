"""The evidence of releases, whose fingerprints the framework's own records accepted."""

import json
from pathlib import Path
from typing import Any

from tests.cases import cases
from wire.documents.contract import contract_from_json
from wire.documents.descriptor import descriptor_from_json
from wire.documents.release_evidence import evidence

RELEASES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("release_evidence.json").read_text())[
    "releases"
]
UNKNOWN_TO_CLIENTS = "awaitTransport"


@cases("name", RELEASES)
def test_the_fingerprint_is_that_of_the_framework(name: str) -> None:
    vector = RELEASES[name]
    contract = contract_from_json(vector["contract"]).normalised() if vector["contract"] else None
    made = evidence(descriptor_from_json(vector["descriptor"]).normalised(), contract, vector["primary"])
    assert made["metadataFingerprint"] == vector["metadataFingerprint"]
    assert UNKNOWN_TO_CLIENTS not in json.dumps(made)
    # A client reads what it received into its records, and computes the fingerprint of these.
    assert evidence(made["descriptor"], made["contract"], vector["primary"]) == made


def test_the_carrier_of_an_older_release_is_its_primary_artifact() -> None:
    vector = RELEASES["august"]
    made = evidence(vector["descriptor"], None, vector["primary"])
    assert made["descriptor"]["compiledTruthArtifactId"] == vector["primary"]["primaryArtifactId"]
