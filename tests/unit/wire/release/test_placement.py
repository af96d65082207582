"""Each step has one place, and the artifacts cover the capabilities (profile `tpf-2026-10`, rules 5 and 6)."""

from __future__ import annotations

from typing import Any

from tests.cases import cases
from tests.unit.wire.release.releasing import DATA, NAME, Store, altered, archive, artifact, contract_of, newer
from wire.documents.contract import CONTRACT_NAME
from wire.documents.descriptor import NAMES_PROFILE
from wire.documents.json_reader import MAX_FINDINGS
from wire.release.placement import known_capabilities, placement_findings
from wire.release.verification import verify

STEPS = f"{NAME}#artifacts[0]!{CONTRACT_NAME}#steps"
Associations = tuple[list[str], list[str]]


def found(*associations: Associations, **members: Any) -> list[tuple[str, str, str]]:
    """Return the findings about artifacts with these steps and capabilities, after a carrier without any."""
    hosts = [
        artifact(f"a{number}", "native-binary", b"", stepIds=steps, capabilities=capabilities)
        for number, (steps, capabilities) in enumerate(associations, start=1)
    ]
    wanted = newer(artifact("app", "compiled-truth", b""), *hosts)
    return [(each.code, each.field, each.message) for each in placement_findings(wanted, contract_of(**members))]


def protocols(*names: str, local: bool = False) -> dict[str, Any]:
    return {"localTransitionExecution": local, "transitionWorkerProtocols": list(names)}


# --- steps ---


@cases(
    "associations",
    [
        [(["Validate", "Ship"], ["local"])],
        [(["Ship"], []), (["Validate"], []), ([], ["local"])],
    ],
)
def test_each_step_is_in_exactly_one_artifact(associations: list[Associations]) -> None:
    assert found(*associations) == []


def not_placed(name: str) -> tuple[str, str, str]:
    return "STEP_NOT_PLACED", NAME, f"no artifacts have the step {name}; exactly one must have it"


def unknown(name: str, number: int = 1) -> tuple[str, str, str]:
    return "STEP_UNKNOWN", f"{NAME}#artifacts[{number}].stepIds", f"the contract has no step {name}"


@cases(
    ("associations", "expected"),
    [
        ([(["Validate"], ["local"])], [not_placed("Ship")]),
        (
            [(["Validate", "Ship"], ["local"]), (["Ship"], []), (["Ship"], [])],
            [("STEP_PLACED_TWICE", NAME, "3 artifacts have the step Ship; exactly one must have it")],
        ),
        ([(["validate", "Ship"], ["local"])], [unknown("validate"), not_placed("Validate")]),
    ],
)
def test_any_other_placement_of_steps_is_refused(
    associations: list[Associations], expected: list[tuple[str, str, str]]
) -> None:
    assert found(*associations) == expected


@cases("unnamed", [{}, {"authoredName": ""}])
def test_each_step_of_the_contract_has_a_name(unnamed: dict[str, Any]) -> None:
    assert found((["Ship"], ["local"]), steps=[{"authoredName": "Ship"}, unnamed, unnamed]) == [
        ("CONTRACT_STEP_UNNAMED", f"{STEPS}[{index}].authoredName", "the step has no authoredName") for index in (1, 2)
    ]


def test_a_contract_has_steps_and_their_names_are_unique() -> None:
    assert found(([], ["local"]), steps=[]) == [("CONTRACT_WITHOUT_STEPS", STEPS, "the contract has no steps")]
    repeated = [{"authoredName": name} for name in ("Ship", "Pack", "Ship")]
    assert found((["Ship", "Pack"], ["local"]), steps=repeated) == [
        ("CONTRACT_STEP_REPEATED", f"{STEPS}[{index}].authoredName", "another step has the same authoredName")
        for index in (0, 2)
    ]


# --- capabilities ---


@cases(
    ("capabilities", "known"),
    [
        (None, ["local", "rest", "grpc", "sqs"]),
        ({}, []),
        (protocols(), []),
        (protocols("rest", local=True), ["local", "rest"]),
        (protocols("rest", "local", "rest", local=True), ["local", "rest"]),
    ],
)
def test_the_known_capabilities_are_local_and_the_protocols(capabilities: Any, known: list[str]) -> None:
    assert known_capabilities(contract_of(capabilities=capabilities)) == known


NOT_COVERED, NOT_DECLARED = "no artifact has the capability {}", "the contract does not declare the capability {}"


@cases(
    ("declared", "capabilities", "undeclared", "uncovered"),
    [
        (protocols("rest", local=True), ["rest", "local"], [], []),
        (protocols(local=True), [], [], ["local"]),
        (protocols("rest", "grpc"), ["rest"], [], ["grpc"]),
        (protocols("rest"), ["rest", "local"], ["local"], []),
        (protocols(), ["checkpoint-each-step"], ["checkpoint-each-step"], []),
    ],
)
def test_the_artifacts_cover_the_declared_capabilities_and_no_others(
    declared: dict[str, Any], capabilities: list[str], undeclared: list[str], uncovered: list[str]
) -> None:
    at = f"{NAME}#artifacts[1].capabilities"
    assert found((["Validate", "Ship"], capabilities), capabilities=declared) == [
        *(("CAPABILITY_UNKNOWN", at, NOT_DECLARED.format(name)) for name in undeclared),
        *(("CAPABILITY_NOT_COVERED", NAME, NOT_COVERED.format(name)) for name in uncovered),
    ]


# --- as part of a verification ---


def test_a_release_with_wrong_places_is_rejected_and_each_message_names_the_profile() -> None:
    carrier = archive()
    wanted = newer(artifact("app", "jar", carrier, stepIds=["Ship", "x"], capabilities=["y"]))
    verdict = verify(wanted, Store(carrier))
    assert [finding.code for finding in verdict.findings] == [
        "STEP_UNKNOWN",
        "CAPABILITY_UNKNOWN",
        "STEP_NOT_PLACED",
        "CAPABILITY_NOT_COVERED",
    ]
    assert all(finding.message.startswith(NAMES_PROFILE) for finding in verdict.findings)
    assert (verdict.accepted, verdict.contract) == (False, None)


def test_places_are_compared_with_an_uploaded_contract() -> None:
    wanted = newer(artifact("app", "jar", b"", stepIds=["Ship"], capabilities=["local"]))
    verdict = verify(wanted, Store(), DATA, identity_only=True)
    assert "STEP_NOT_PLACED" in [finding.code for finding in verdict.findings]


def test_the_number_of_findings_is_limited() -> None:
    steps = [{"authoredName": f"step {number}"} for number in range(MAX_FINDINGS)]
    carrier = archive(altered(steps=steps))
    wanted = newer(artifact("app", "jar", carrier, stepIds=["a"], capabilities=["local"]))
    verdict = verify(wanted, Store(carrier))
    assert len([each for each in verdict.findings if each.code != "CONTRACT_HASH_MISMATCH"]) == MAX_FINDINGS + 1
    assert verdict.findings[-1].code == "DOCUMENT_TOO_MANY_FINDINGS"
