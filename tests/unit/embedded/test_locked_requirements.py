"""The lock file as requirements for pip: what applies here, with its hashes."""

from typing import Any

from embedded.locked_requirements import applies, needed, requirements
from tests.cases import cases


def package(name: str, version: str = "1", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "version": version,
        "source": {"registry": "x"},
        "wheels": [{"hash": f"sha256:{name}"}],
        **more,
    }


def lock(*packages: dict[str, Any], **project: Any) -> list[dict[str, Any]]:
    return [package("project", **project) | {"source": {"editable": "."}}, *packages]


def names(packages: list[dict[str, Any]]) -> list[str]:
    return [found["name"] for found in needed(packages)]


def test_dependencies_and_groups_are_followed_to_the_end() -> None:
    packages = lock(
        package("a", dependencies=[{"name": "b"}]),
        package("b", dependencies=[{"name": "a"}]),
        package("tool"),
        package("unused"),
        dependencies=[{"name": "a"}],
        **{"dev-dependencies": {"dev": [{"name": "tool"}]}},
    )
    assert names(packages) == ["a", "b", "tool"]


def test_the_packages_of_the_workspace_are_followed_with_their_extras_and_left_out() -> None:
    member = package("member", dependencies=[{"name": "b"}]) | {"source": {"editable": "members/member"}}
    packages = lock(
        package("a"),
        package("b"),
        package("c"),
        member,
        dependencies=[{"name": "a"}, {"name": "member"}],
        **{"optional-dependencies": {"servers": [{"name": "c"}]}},
    )
    assert names(packages) == ["a", "b", "c"]


def test_an_extra_is_followed_only_where_it_is_asked_for() -> None:
    library = package("a") | {"optional-dependencies": {"fast": [{"name": "b"}], "slow": [{"name": "c"}]}}
    packages = lock(library, package("b"), package("c"), dependencies=[{"name": "a"}, {"name": "a", "extra": ["fast"]}])
    assert names(packages) == ["a", "b"]


def test_of_two_versions_the_one_that_applies_here_is_taken() -> None:
    packages = lock(
        package("a", "1"),
        package("a", "2"),
        dependencies=[
            {"name": "a", "version": "1", "marker": "python_full_version < '3'"},
            {"name": "a", "version": "2", "marker": "python_full_version >= '3'"},
        ],
    )
    assert [found["version"] for found in needed(packages)] == ["2"]


def test_every_file_of_a_package_is_named_by_its_hash() -> None:
    library = package("a", "1.5", sdist={"hash": "sha256:source"})
    document = {"package": lock(library, dependencies=[{"name": "a"}])}
    assert list(requirements(document)) == ["a==1.5 --hash=sha256:a --hash=sha256:source"]


@cases(
    ("marker", "expected"),
    [(None, True), ("sys_platform == 'win32'", False), ("python_version >= '3.11'", True)],
)
def test_markers(marker: str | None, expected: bool) -> None:
    assert applies(marker) is expected
