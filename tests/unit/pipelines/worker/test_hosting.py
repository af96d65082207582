"""A worker hosts a release only with exactly the code of that release."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.authoring.compiler import compile_contract
from pipelines.authoring.loading import load
from pipelines.errors import DefinitionError
from pipelines.release.packaging import artifact_digest
from tests.unit.pipelines.worker.conftest import SOURCE, Hosted, released


def refusal(hosted: Hosted) -> str:
    with pytest.raises(DefinitionError) as caught:
        hosted.host()
    return caught.value.code


def member(name: str, value: str) -> Any:
    return lambda document: document.update({name: value})


def artifact(**changes: str) -> Any:
    return lambda document: document["artifacts"][0].update(changes)


def test_code_that_is_one_of_two_artifacts_is_hosted_under_the_name_of_that_artifact(hosted: Hosted) -> None:
    """The other artifact runs on other workers of the release."""
    original = hosted.descriptor.read_text()
    mine = json.loads(original)["artifacts"][0]
    for kind in ("local-file", "container-image"):
        other = {"artifactId": "other", "kind": kind, "uri": "other", "digest": "sha256:" + "1" * 64}
        document = json.loads(original)
        document["artifacts"].insert(0, other)
        hosted.descriptor.write_text(json.dumps(document))
        found = hosted.host().release
        assert (found.artifact_id, found.artifact_digest) == (mine["artifactId"], mine["digest"])
        assert (found.identity.tenant_id, found.identity.pipeline_id) == ("acme", "tests.hosted")
        assert (found.identity.contract_version, found.identity.release_version) == (document["contractVersion"], "1.0")


def test_a_release_of_anything_else_is_refused(hosted: Hosted, subtests: pytest.Subtests) -> None:
    original = hosted.descriptor.read_text()
    for change, code in (
        (member("pipelineId", "tests.other"), "PIPELINE_MISMATCH"),
        (member("contractVersion", "sha256:" + "0" * 64), "CONTRACT_MISMATCH"),
        (artifact(digest="sha256:" + "0" * 64), "ARTIFACT_MISMATCH"),
        (artifact(digest="sha256:short"), "INVALID_RELEASE"),
    ):
        with subtests.test(code):
            hosted.descriptor.write_text(original)
            hosted.change_descriptor(change)
            assert refusal(hosted) == code
    hosted.descriptor.write_text(original)
    source = hosted.folder / f"{hosted.module}.py"
    source.write_text(source.read_text().replace("* 10", "* 11"))
    assert refusal(hosted) == "ARTIFACT_MISMATCH", "the body is another one, although its contract is the same"
    hosted.descriptor.unlink()
    assert refusal(hosted) == "INVALID_RELEASE"


def test_a_release_that_pins_no_bytes_is_checked_by_its_contract_only(hosted: Hosted) -> None:
    hosted.change_descriptor(artifact(kind="container-image", digest="sha256:" + "1" * 64))
    found = hosted.host().release
    assert (found.artifact_id, found.artifact_digest) == ("", "")


def test_a_release_from_before_contracts_had_constraints_is_hosted(tmp_path: Path) -> None:
    with released(tmp_path, SOURCE.replace("number: int", "number: int = 5")) as hosted:
        pipeline = load(hosted.reference)
        earlier = compile_contract(pipeline, constraints=False)
        assert earlier["contractVersion"] != compile_contract(pipeline)["contractVersion"]
        hosted.change_descriptor(member("contractVersion", earlier["contractVersion"]))
        hosted.change_descriptor(artifact(digest=artifact_digest(pipeline, contract=earlier)))
        assert hosted.host().release.identity.contract_version == earlier["contractVersion"]
