import pytest

from releases.registration.image_registry import ImageReference, unusable
from tests.cases import cases
from wire.documents.descriptor import descriptor_from_json
from wire.findings import Severity

HEX = "0b" * 32
DIGEST = f"sha256:{HEX}"


@cases(
    "text",
    [
        "",
        f"https://r.example/app@{DIGEST}",
        f"user@r.example/app@{DIGEST}",
        f"r.example//app@{DIGEST}",
        f"r.example/App@{DIGEST}",
        f"r.example/../x@{DIGEST}",
        f"r.example/app\n@{DIGEST}",
        f"r.example:port/app@{DIGEST}",
        f"r.example/app:{'t' * 129}@{DIGEST}",
        f"r.example/app@sha256:{HEX.upper()}",
        f"r.example/{'a' * 250}@{DIGEST}",
    ],
)
def test_a_malformed_reference_is_rejected_with_a_message(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        ImageReference.parse(text)


@cases("kind", ["lambda-image", "external-endpoint"])
@cases(
    ("uri", "code"),
    [
        (f"registry.example/app@{DIGEST}", ""),
        ("registry.example/app:1.0", "IMAGE_REFERENCE_NOT_PINNED"),
        (f"registry.example/app@sha256:{'0' * 64}", "IMAGE_REFERENCE_OTHER_DIGEST"),
        (f"registry.example/app@sha512:{HEX * 2}", "IMAGE_REFERENCE_OTHER_DIGEST"),
        ("https://registry.example/app", "IMAGE_REFERENCE_MALFORMED"),
    ],
)
def test_an_image_is_pinned_by_the_digest_of_its_artifact(kind: str, uri: str, code: str) -> None:
    members = {"schemaVersion": 1, "pipelineId": "org.x", "contractVersion": "1", "releaseVersion": "1"}
    artifact = {"artifactId": "a", "kind": kind, "uri": uri, "digest": DIGEST}
    descriptor = descriptor_from_json({**members, "artifacts": [artifact]})
    findings = [(finding.code, finding.field, finding.severity) for finding in unusable(descriptor, Severity.WARNING)]
    expected = [(code, "pipeline-release.json#artifacts[0].uri", Severity.WARNING)]
    assert findings == ([] if kind == "external-endpoint" or not code else expected)
