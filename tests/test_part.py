import datetime
import tomllib

from embedded.product import PROJECT
from tests.part import PARTS, part_of_the_day


def test_each_folder_belongs_to_one_part() -> None:
    named = [argument for part in PARTS.values() for argument in part.command if argument.startswith("tests/parts/")]
    folders = [f"tests/parts/{path.name}" for path in (PROJECT / "tests/parts").iterdir() if any(path.rglob("*.py"))]
    assert sorted(named) == sorted(folders)


def test_what_a_part_names_exists() -> None:
    groups = tomllib.loads((PROJECT / "pyproject.toml").read_text())["dependency-groups"]
    for part in PARTS.values():
        assert set(part.groups) <= set(groups)
        for path in (*(f".ci/{tool}" for tool in part.tools), *(file for file in part.command if "/" in file)):
            assert (PROJECT / path).exists(), path


def test_each_part_has_its_turn() -> None:
    monday = datetime.date(2026, 11, 30)
    assert {part_of_the_day(monday + datetime.timedelta(days=day)) for day in range(len(PARTS))} == set(PARTS)
