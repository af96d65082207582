"""Differences of artifacts, environments, signatures, provenance and SBOMs, and the limits of a comparison."""

from typing import Any

import pytest

from tests.cases import cases
from tests.unit.wire.comparison.releases import Row, contract, facts, field, named, record, step
from wire.comparison import types
from wire.comparison.comparison import compare
from wire.comparison.differences import MAX_DIFFERENCES, Impact
from wire.comparison.facts import MAX_PACKAGES, Package, Provenance, ReleaseFacts, package_of
from wire.documents.descriptor import CHECKPOINTS

COMPATIBLE, UNKNOWN = "compatible", "unknown"
OTHER = "sha256:" + "0b" * 32


def rows(before: ReleaseFacts, after: ReleaseFacts) -> list[Row]:
    return [(each.area.value, each.kind.value, each.impact.value, each.path) for each in compare(before, after)]


CHECKPOINTED = {"capabilities": [CHECKPOINTS]}


@cases(
    ("before", "after", "area", "kind", "path"),
    [
        ([{}], [{"digest": OTHER}], "artifact", "changed", '["app"].digest'),
        ([{}], [{"stepIds": ["A"]}], "artifact", "added", '["app"].stepIds'),
        ([{}, {}], [{}], "artifact", "removed", '["app (1)"]'),
        ([{"capabilities": ["rest"]}], [{"capabilities": []}], "capability", "removed", '["app"].capabilities'),
        ([{}], [CHECKPOINTED], "policy", "added", '["app"].capabilities'),
    ],
)
def test_artifacts_are_compared_by_their_ids(before: Any, after: Any, area: str, kind: str, path: str) -> None:
    found = rows(facts(artifacts=before), facts(artifacts=after))
    assert found == [(area, kind, COMPATIBLE, f"artifacts{path}")]


def environment(**distributions: str) -> dict[str, dict[str, Any]]:
    listed = [{"name": name, "version": each} for name, each in distributions.items()]
    return {"app": {"implementation": "CPython", "version": "3", "platform": "linux", "distributions": listed}}


def test_environments_are_compared_by_distribution() -> None:
    before = facts(environments=environment(kept="1", gone="1", changed="1"))
    after = facts(environments=environment(kept="1", changed="2", new=""))
    found = compare(before, after)
    assert [(each.kind.value, each.path, each.before, each.after) for each in found] == [
        ("changed", 'environments["app"].distributions["changed"]', "1", "2"),
        ("removed", 'environments["app"].distributions["gone"]', "1", ""),
        ("added", 'environments["app"].distributions["new"]', "", "from a URL"),
    ]


def test_signatures_say_who_signed() -> None:
    assert rows(facts(signers=["eva"]), facts(signers=["eva", "ben"])) == [
        ("signature", "added", COMPATIBLE, "signatures")
    ]
    assert rows(facts(signers=["eva"]), facts(signers=[])) == [("signature", "removed", UNKNOWN, "signatures")]
    assert rows(facts(signers=None), facts(signers=["eva"])) == []


def test_provenance_says_where_the_code_comes_from() -> None:
    before = Provenance("https://builder", "https://source@main", "gitCommit:1")
    after = Provenance("https://builder", "https://source@main", "gitCommit:2")
    assert rows(facts(provenance=[before]), facts(provenance=[after])) == [
        ("provenance", "changed", COMPATIBLE, "provenance.commit")
    ]


def test_packages_are_compared_with_their_versions() -> None:
    before = facts(packages=[Package("a", "1"), Package("b", "1"), Package("c", "1"), Package("c", "2")])
    after = facts(packages=[Package("a", "1"), Package("c", "2"), Package("d")])
    assert [(each.kind.value, each.path, each.before, each.after) for each in compare(before, after)] == [
        ("removed", 'packages["b"]', "1", ""),
        ("changed", 'packages["c"]', "1, 2", "2"),
        ("added", 'packages["d"]', "", "no version"),
    ]


@cases("packages", [None, [Package("a")] * (MAX_PACKAGES + 1)])
def test_packages_that_are_not_known_are_no_difference_of_packages(packages: list[Package] | None) -> None:
    [found] = compare(facts(packages=[Package("a")]), facts(packages=packages))
    assert (found.path, found.impact) == ("packages", UNKNOWN)


@cases(
    ("purl", "expected"),
    [
        ("pkg:pypi/django@5.2.1", Package("pkg:pypi/django", "5.2.1")),
        ("pkg:npm/%40scope/name@1.0?arch=x#sub", Package("pkg:npm/%40scope/name", "1.0")),
        ("no purl", Package("name", "1")),
    ],
)
def test_a_purl_identifies_a_package(purl: str, expected: Package) -> None:
    assert package_of("name", "1", purl) == expected


def test_the_most_harmful_difference_comes_first() -> None:
    before = facts(contract(step("A"), step("B")), signers=["eva"], checkpoints=False)
    after = facts(contract(step("A"), types={"Order": record(field("id"), field("n"))}), signers=[], checkpoints=True)
    impacts = ["breaking-for-callers", "breaking-for-parked-work", "unknown", "compatible"]
    assert [each.impact.value for each in compare(before, after)] == impacts


def test_differences_are_bounded() -> None:
    fields = [field(f"f{number:05}") for number in range(MAX_DIFFERENCES + 2)]
    old = contract(step("A"), types={"Order": record(field("id"))})
    new = contract(step("A"), types={"Order": record(field("id"), *fields)})
    found = compare(facts(old), facts(new))
    assert len(found) == MAX_DIFFERENCES + 1
    assert found[-1].impact == "breaking-for-callers"


def test_types_are_compared_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(types, "MAX_COMPARED", 1)
    order = record(field("line", named("Line")))
    old, new = (
        contract(step("A"), types={"Order": order, "Line": record(field("n", kind))}) for kind in ("string", "uuid")
    )
    found = {(each.impact, each.reason) for each in compare(facts(old), facts(new))}
    assert found == {(Impact.UNKNOWN, "The type is too large to be compared further.")}
