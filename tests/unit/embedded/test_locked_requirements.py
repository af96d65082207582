"""The lock file as requirements for pip: what applies here, with its hashes."""

from typing import Any

from embedded.locked_requirements import applies, needed, requirements


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


def test_dependencies_groups_members_and_extras_are_followed_to_the_end() -> None:
    member = package("member", dependencies=[{"name": "b"}]) | {"source": {"editable": "members/member"}}
    library = package("a", dependencies=[{"name": "b"}])
    library["optional-dependencies"] = {"fast": [{"name": "c"}], "slow": [{"name": "unused"}]}
    packages = lock(
        library,
        package("b", dependencies=[{"name": "a"}]),
        package("c"),
        package("server"),
        package("tool"),
        package("unused"),
        member,
        dependencies=[{"name": "a"}, {"name": "a", "extra": ["fast"]}, {"name": "member"}],
        **{
            "optional-dependencies": {"servers": [{"name": "server"}]},
            "dev-dependencies": {"dev": [{"name": "tool"}]},
        },
    )
    assert names(packages) == ["a", "b", "c", "server", "tool"]


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


def test_markers() -> None:
    found = [applies(marker) for marker in (None, "sys_platform == 'win32'", "python_version >= '3.11'")]
    assert found == [True, False, True]
