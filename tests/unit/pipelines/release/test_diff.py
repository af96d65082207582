"""`pipelines diff`: the differences between two releases on this machine."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import main
from tests import making

ID = {"name": "id", "type": {"kind": "scalar", "id": "string"}}
PRICE = {"name": "price", "type": {"kind": "scalar", "id": "decimal"}}


def written(folder: Path, version: str = "1.0", *fields: dict[str, Any], **entries: str) -> Path:
    """Write a release with its artifact, and return its folder."""
    folder.mkdir()
    types = {"Order": {"definition": {"id": "Order", "kind": "record", "fields": [ID, *fields]}}}
    contract = making.contract(canonicalTypes=types)
    data = making.archive(contract, **entries)
    (folder / "app.zip").write_bytes(data)
    (folder / "pipeline-release.json").write_text(json.dumps(making.descriptor(contract, data, version)))
    return folder


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return written(tmp_path / "old")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return written(tmp_path / "new", "2.0", PRICE)


def diff(capsys: pytest.CaptureFixture[str], *arguments: Path | str) -> tuple[int, str, str]:
    status = main(["diff", *map(str, arguments)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_a_new_required_field_breaks_callers(capsys: pytest.CaptureFixture[str], old: Path, new: Path) -> None:
    status, out, err = diff(capsys, old, new)
    assert (status, err) == (1, "")
    assert out.startswith('breaking-for-callers: added steps["Validate"].input.price: none -> decimal. ')
    document = json.loads(diff(capsys, old, new, "--json")[1])
    assert (document["breaking"], document["fromReleaseVersion"], document["toReleaseVersion"]) == (True, "1.0", "2.0")
    first = document["differences"][0]
    assert (first["impact"], first["path"]) == ("breaking-for-callers", 'steps["Validate"].input.price')


def test_equal_releases_and_other_code_are_compatible(
    capsys: pytest.CaptureFixture[str], old: Path, tmp_path: Path
) -> None:
    assert diff(capsys, old / "pipeline-release.json", old) == (0, "no differences\n", "")
    status, out, _ = diff(capsys, old, written(tmp_path / "other", "1.1", code="x = 1"))
    assert (status, out.startswith('compatible: changed artifacts["app"].digest: sha256:')) == (0, True)


def test_a_file_with_other_bytes_leaves_the_contract_unknown(
    capsys: pytest.CaptureFixture[str], old: Path, new: Path
) -> None:
    (new / "app.zip").write_bytes((old / "app.zip").read_bytes())
    assert diff(capsys, old, new)[1].startswith("unknown: changed contract: ")
