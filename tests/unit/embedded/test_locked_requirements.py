"""The lock file as requirements for pip: what applies here, with its hashes."""

from typing import Any

from embedded.locked_requirements import needed, requirements


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


def names(packages: list[dict[str, Any]], *groups: str) -> list[str]:
    return [found["name"] for found in needed(packages, groups)]


def test_dependencies_and_the_named_groups_are_followed_to_the_end() -> None:
    packages = lock(
        package("a", dependencies=[{"name": "b"}]),
        package("b", dependencies=[{"name": "a"}]),
        package("tool"),
        package("other-tool"),
        package("unused"),
        dependencies=[{"name": "a"}],
        **{"dev-dependencies": {"test": [{"name": "tool"}], "deploy": [{"name": "other-tool"}]}},
    )
    assert names(packages) == ["a", "b"]
    assert names(packages, "test") == ["a", "b", "tool"]
    assert names(packages, "test", "deploy") == ["a", "b", "other-tool", "tool"]


def test_of_two_versions_the_one_that_applies_here_is_named_with_all_hashes() -> None:
    packages = lock(
        package("a", "1"),
        package("a", "2", sdist={"hash": "sha256:source"}),
        dependencies=[
            {"name": "a", "version": "1", "marker": "python_full_version < '3'"},
            {"name": "a", "version": "2", "marker": "python_full_version >= '3'"},
        ],
    )
    assert list(requirements({"package": packages}, [])) == ["a==2 --hash=sha256:a --hash=sha256:source"]
