"""Each step has one place, and the artifacts cover the capabilities (profile `tpf-2026-10`, rules 5 and 6)."""

from typing import Any

from tests.cases import cases
from tests.unit.wire.release.releasing import DATA, NAME, Store, archive, artifact, contract_of, newer
from wire.documents.contract import CONTRACT_NAME
from wire.documents.descriptor import NAMES_PROFILE
from wire.documents.json_reader import MAX_FINDINGS
from wire.release.placement import placement_findings
from wire.release.verification import verify

STEPS = f"artifacts[0]!{CONTRACT_NAME}#steps"
BOTH = ["Validate", "Ship"]
Associations = tuple[list[str], list[str]]
Found = list[tuple[str, str]]
UNKNOWN, NOT_COVERED = ("CAPABILITY_UNKNOWN", "artifacts[1].capabilities"), ("CAPABILITY_NOT_COVERED", "")


def found(*associations: Associations, **members: Any) -> Found:
    """Return the findings about artifacts with these steps and capabilities, after a carrier without any."""
    hosts = [
        artifact(f"a{number}", "native-binary", b"", stepIds=steps, capabilities=capabilities)
        for number, (steps, capabilities) in enumerate(associations, start=1)
    ]
    wanted = newer(artifact("app", "compiled-truth", b""), *hosts)
    findings = placement_findings(wanted, contract_of(**members))
    return [(each.code, each.field.removeprefix(NAME).removeprefix("#")) for each in findings]


def protocols(*names: str, local: bool = False) -> dict[str, Any]:
    return {"localTransitionExecution": local, "transitionWorkerProtocols": list(names)}


@cases(
    ("associations", "expected"),
    [
        ([(BOTH, ["local"])], []),
        ([(["Ship"], []), (["Validate"], []), ([], ["local"])], []),
        ([(["Validate"], ["local"])], [("STEP_NOT_PLACED", "")]),
        ([(BOTH, ["local"]), (["Ship"], [])], [("STEP_PLACED_TWICE", "")]),
        ([(BOTH, ["local"]), (["ship"], [])], [("STEP_UNKNOWN", "artifacts[2].stepIds")]),
    ],
)
def test_each_step_is_in_exactly_one_artifact(associations: list[Associations], expected: Found) -> None:
    assert found(*associations) == expected


@cases(
    ("declared", "capabilities", "expected"),
    [
        (protocols("rest", local=True), ["rest", "local"], []),
        (protocols(local=True), [], [NOT_COVERED]),
        (protocols("rest", "grpc"), ["rest"], [NOT_COVERED]),
        (protocols("rest"), ["rest", "local"], [UNKNOWN]),
    ],
)
def test_the_artifacts_cover_the_declared_capabilities_and_no_others(
    declared: dict[str, Any], capabilities: list[str], expected: Found
) -> None:
    assert found((BOTH, capabilities), capabilities=declared) == expected


@cases("stored", [True, False])
def test_a_release_with_wrong_places_is_rejected_even_if_its_contract_was_uploaded(stored: bool) -> None:
    carrier = archive()
    wanted = newer(artifact("app", "jar", carrier, stepIds=["Ship"], capabilities=["local"]))
    verdict = verify(wanted, Store(*[carrier] * stored), DATA, identity_only=True)
    [finding] = [each for each in verdict.findings if each.code != "ARTIFACT_IDENTITY_ONLY"]
    assert (finding.code, finding.message.startswith(NAMES_PROFILE)) == ("STEP_NOT_PLACED", True)
    assert (verdict.accepted, verdict.contract) == (False, None)


def test_a_contract_has_steps_and_their_names_are_unique() -> None:
    assert found(([], ["local"]), steps=[]) == [("CONTRACT_WITHOUT_STEPS", STEPS)]
    named, unnamed = {"index": 0, "authoredName": "A"}, {"index": 0}
    for second, code in ((named, "CONTRACT_STEP_REPEATED"), (unnamed, "CONTRACT_STEP_UNNAMED")):
        steps = [named, {**second, "index": 1}]
        assert (code, f"{STEPS}[1].authoredName") in found((["A"], ["local"]), steps=steps)


def test_findings_about_places_are_limited() -> None:
    carrier = archive()
    names = [str(number) for number in range(2 * MAX_FINDINGS)]
    verdict = verify(newer(artifact("app", "jar", carrier, stepIds=names, capabilities=names)), Store(carrier))
    assert (len(verdict.findings), verdict.accepted) == (MAX_FINDINGS + 1, False)
