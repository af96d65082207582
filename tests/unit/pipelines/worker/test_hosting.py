"""A worker hosts a release only with exactly the code of that release."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import DefinitionError
from pipelines.worker.hosted_release import host_source
from tests.cases import cases
from tests.unit.pipelines.worker.conftest import Hosted


def refusal(hosted: Hosted) -> str:
    with pytest.raises(DefinitionError) as caught:
        hosted.host()
    return caught.value.code


def test_code_that_is_the_release_is_hosted_under_its_identity(hosted: Hosted) -> None:
    document = json.loads(hosted.descriptor.read_text())
    found = host_source(hosted.reference, hosted.descriptor, "acme")
    assert (found.identity.tenant_id, found.identity.pipeline_id) == ("acme", "tests.hosted")
    assert found.identity.contract_version == document["contractVersion"]
    assert found.identity.release_version == "1.0"
    [artifact] = document["artifacts"]
    assert (found.artifact_id, found.artifact_digest) == (artifact["artifactId"], artifact["digest"])


@cases("own", [0, 1])
@cases("kind", ["local-file", "container-image"])
def test_code_that_is_one_of_two_artifacts_is_hosted_under_the_name_of_that_artifact(
    hosted: Hosted, own: int, kind: str
) -> None:
    """The other artifact runs on other workers of the release."""
    other = {"artifactId": "other", "kind": kind, "uri": "other", "digest": "sha256:" + "1" * 64}
    mine = json.loads(hosted.descriptor.read_text())["artifacts"][0]
    hosted.change_descriptor(lambda document: document["artifacts"].insert(1 - own, other))
    found = hosted.host().release
    assert (found.artifact_id, found.artifact_digest) == (mine["artifactId"], mine["digest"])


def member(name: str, value: str) -> Any:
    return lambda document: document.update({name: value})


def artifact(**changes: str) -> Any:
    return lambda document: document["artifacts"][0].update(changes)


@cases(
    ("change", "code"),
    [
        (member("pipelineId", "tests.other"), "PIPELINE_MISMATCH"),
        (member("contractVersion", "sha256:" + "0" * 64), "CONTRACT_MISMATCH"),
        (artifact(digest="sha256:" + "0" * 64), "ARTIFACT_MISMATCH"),
        (artifact(digest="sha256:short"), "INVALID_RELEASE"),
        (artifact(kind="balloon"), "INVALID_RELEASE"),
        (member("extra", "x"), "INVALID_RELEASE"),
    ],
)
def test_a_release_of_anything_else_is_refused(hosted: Hosted, change: Any, code: str) -> None:
    hosted.change_descriptor(change)
    assert refusal(hosted) == code


def test_a_changed_body_is_refused_although_its_contract_is_the_same(hosted: Hosted) -> None:
    source = hosted.folder / f"{hosted.module}.py"
    source.write_text(source.read_text().replace("* 10", "* 11"))
    assert refusal(hosted) == "ARTIFACT_MISMATCH"


@cases("text", ["", "{", "[]", "\ufeff{}", '{"schemaVersion": 1, "schemaVersion": 1}'])
def test_a_malformed_descriptor_is_refused(hosted: Hosted, text: str) -> None:
    hosted.descriptor.write_text(text)
    assert refusal(hosted) == "INVALID_RELEASE"


def test_a_missing_descriptor_is_refused(hosted: Hosted) -> None:
    hosted.descriptor.unlink()
    assert refusal(hosted) == "INVALID_RELEASE"


def test_a_release_that_pins_no_bytes_is_checked_by_its_contract_only(hosted: Hosted, tmp_path: Path) -> None:
    hosted.change_descriptor(artifact(kind="container-image", digest="sha256:" + "1" * 64))
    found = hosted.host().release
    assert (found.artifact_id, found.artifact_digest) == ("", "")
