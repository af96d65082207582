"""Every mainstream reader finds the same files in an accepted archive: Java, Info-ZIP, libarchive and Python."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases import cases
from tests.parts.archive_readers.mutations import ATTACKS, CONTENTS, GOOD, by_tools, mutated, ordinary
from tests.parts.archive_readers.reading import HOW_TO_INSTALL, MISSING, Files, read_by_all
from wire.archive.reader import ArchiveError, read_contract_entry
from wire.documents.contract import CONTRACT_ENTRY

MUTATIONS = 3000
SEED = 20


@pytest.fixture(autouse=True)
def readers() -> None:
    assert not MISSING, f"{', '.join(MISSING)} are missing; {HOW_TO_INSTALL}"


def verified(data: bytes) -> bytes | None:
    return read_contract_entry(io.BytesIO(data))


def read(archives: dict[str, bytes], folder: Path) -> dict[str, dict[str, Files]]:
    paths = {name: folder / f"{number}.zip" for number, name in enumerate(archives)}
    for name, path in paths.items():
        path.write_bytes(archives[name])
    (scratch := folder / "scratch").mkdir()
    found = read_by_all(list(paths.values()), scratch)
    return {name: found[path] for name, path in paths.items()}


def test_archives_of_ordinary_tools_are_accepted_and_every_reader_sees_their_files(tmp_path: Path) -> None:
    archives = ordinary() | by_tools(tmp_path)
    assert {name: verified(data) for name, data in archives.items()} == dict.fromkeys(archives, GOOD)
    expected = {name: hashlib.sha256(body).hexdigest() for name, body in CONTENTS.items()}
    for name, found in read(archives, tmp_path).items():
        for reader, files in found.items():
            assert files is not None, (name, reader)
            assert {each: files[each] for each in CONTENTS} == expected, (name, reader)


@cases("build", ATTACKS)
def test_an_archive_in_which_readers_see_different_files_is_refused(build: Callable[[], bytes], tmp_path: Path) -> None:
    data = build()
    found = read({"attack": data}, tmp_path)["attack"]
    assert len({frozenset((files or {}).items()) for files in found.values()}) > 1, found
    with pytest.raises(ArchiveError):
        verified(data)


def test_every_reader_sees_the_same_files_in_each_mutated_archive_that_is_accepted(tmp_path: Path) -> None:
    bases = list((ordinary() | by_tools(tmp_path)).values())
    accepted: dict[str, bytes] = {}
    for data in {*mutated(bases, MUTATIONS, SEED)} - {*bases}:
        try:
            contract = verified(data)
        except ArchiveError:
            continue
        if contract is not None or data.startswith(b"PK"):
            accepted[f"{len(accepted)}"] = data
    assert len(accepted) > MUTATIONS / 100
    for name, found in read(accepted, tmp_path).items():
        contract = verified(accepted[name])
        digest = contract and hashlib.sha256(contract).hexdigest()
        assert {(files or {}).get(CONTRACT_ENTRY) for files in found.values()} == {digest}, found
        if contract is not None:
            assert all(files == found["JarFile"] for files in found.values()), found
