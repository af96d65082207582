"""The rules of release descriptors, as the double of the framework's deployment command line checks them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.parts.clients.tpf_cli import closure
from tests.parts.clients.tpf_cli.configuration import ResolverProfile
from tests.parts.clients.tpf_cli.descriptor import locate, parse
from tests.parts.clients.tpf_cli.failures import BadRelease, Unresolved
from tests.parts.clients.tpf_cli.scripted import STEPS, archive, artifact, contract, descriptor, digest_of, stored

OTHER = digest_of(b"other")
OCI = f"oci://registry.example/acme/app@{OTHER}"
DATA = archive(contract())
JAR = artifact(DATA, "file:///app.jar")


def verify_with(*artifacts: dict[str, Any]) -> None:
    closure.verify(parse(json.dumps(descriptor(*artifacts)).encode()), ResolverProfile(), {})


@pytest.mark.parametrize(
    ("rule", "document"),
    [
        ("members", descriptor()),
        ("members", descriptor(JAR, schemaVersion=2)),
        ("members", descriptor(JAR, schemaVersion=True)),
        ("members", descriptor(JAR, releaseVersion=" ")),
        ("members", descriptor(JAR, more=1)),
        ("members", descriptor(JAR, JAR)),
        ("members", descriptor({**JAR, "kind": "JAR"})),
        ("members", descriptor({**JAR, "artifactId": "a b"})),
        ("members", descriptor({**JAR, "digest": JAR["digest"].upper()})),
        ("members", descriptor({**JAR, "stepIds": ["Validate", "Validate"]})),
        ("members", descriptor({**JAR, "capabilities": [" "]})),
        ("members", descriptor({**JAR, "kind": "compiled-truth"})),
        ("rule 1", descriptor(JAR, compiledTruthArtifactId="other")),
        ("rule 1", descriptor({**JAR, "kind": "native-binary"})),
        ("rule 2", descriptor({**JAR, "uri": OCI, "digest": OTHER})),
        ("rule 2", descriptor(JAR, {**JAR, "artifactId": "b", "kind": "lambda-image"})),
        ("rule 2", descriptor(JAR, {**JAR, "artifactId": "b", "kind": "lambda-image", "uri": OCI})),
        ("rule 3", descriptor({**JAR, "uri": "file:/app.jar"})),
        ("rule 4", descriptor({**JAR, "uri": "maven:org.example:app:jar:1.0"})),
    ],
)
def test_a_descriptor_that_breaks_a_rule_is_refused(rule: str, document: dict[str, Any]) -> None:
    with pytest.raises(BadRelease, match=f"^{rule}: "):
        parse(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("rule", "data", "change"),
    [
        ("rule 1", archive(None), {}),
        ("rule 1", b"no archive", {}),
        ("rule 1", archive(contract(pipelineId="other")), {}),
        ("rule 1", archive(contract(), other="x"), {"kind": "compiled-truth", "stepIds": [], "capabilities": []}),
        ("rule 5", DATA, {"stepIds": ["Validate"]}),
        ("rule 5", DATA, {"stepIds": [*STEPS, "Ship"]}),
        ("rule 5", archive(contract(steps=[{"authoredName": "Pay"}] * 2)), {}),
        ("rule 5", archive(contract(steps=[{"authoredName": " "}])), {}),
        ("rule 5", archive(contract(steps=[])), {}),
        ("rule 6", DATA, {"capabilities": ["local"]}),
        ("rule 6", DATA, {"capabilities": ["local", "rest", "grpc"]}),
        ("rule 6", archive(contract(capabilities=None)), {}),
    ],
)
def test_a_release_that_differs_from_its_contract_is_refused(
    tmp_path: Path, rule: str, data: bytes, change: dict[str, Any]
) -> None:
    with pytest.raises(BadRelease, match=f"^{rule}: "):
        verify_with(stored(tmp_path / "app.jar", data, **change))


def test_each_step_is_in_one_deployable_artifact(tmp_path: Path) -> None:
    app = stored(tmp_path / "app.jar", DATA)
    verify_with({**app, "stepIds": ["Validate"]}, {**app, "artifactId": "twin", "stepIds": ["Pay"]})
    with pytest.raises(BadRelease, match=r"^rule 5: "):
        verify_with(app, {**app, "artifactId": "twin", "stepIds": ["Pay"]})


@pytest.mark.parametrize("data", [archive([]), archive(contract(steps={"a": 1})), archive(contract(capabilities=[1]))])
def test_a_contract_of_another_shape_cannot_be_read(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Unresolved):
        verify_with(stored(tmp_path / "app.jar", data))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"schemaVersion":1,"schemaVersion":1}', b"\xff", b"[" * 100_000])
def test_a_descriptor_is_one_json_object(data: bytes) -> None:
    with pytest.raises(BadRelease, match=r"^members: "):
        parse(data)


@pytest.mark.parametrize("uri", ["file:///a/b", "file:///a!%22$&'()*+,-.:;=@_~%60%20%C3%A9", "maven:a.b:c:1-SNAPSHOT"])
def test_some_locations_cannot_be_promoted(uri: str) -> None:
    assert not locate(uri).promotable
    assert locate("maven:a.b:c:zip:x:1+2~3").promotable
    assert locate(OCI).promotable


@pytest.mark.parametrize(
    "uri",
    [
        *("file:a", "file://", "file:///a/", "file:///a//b", "file:///a/../b", "file:///a?b", "file:///a#b"),
        *("file:///%61", "file:///%c3%a9", "file:///é", "file://host/a", "file:///a%00", "FILE:///a", "file:///\ud800"),
        *("maven://a:b:1", "maven:a:b", "maven:a..b:c:1", "maven:a:b:jar:1", "maven:a:b:zip::1", "maven:a:b:1:2:3:4"),
        *("oci://a/b", "oci://a/b:1", f"oci://a@{OTHER}", f"{OCI}0", OCI.upper(), "https://a/b", "", "app.jar"),
    ],
)
def test_a_location_is_canonical(uri: str) -> None:
    with pytest.raises(BadRelease):
        locate(uri)
