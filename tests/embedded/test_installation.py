from collections.abc import Callable
from pathlib import Path

import pytest

from embedded.installation import KEPT, Installation, InstallationError


def with_file(name: str, text: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        folder.mkdir()
        (folder / name).write_text(text)

    return prepare


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (Path.touch, "data cannot keep the data"),
        (with_file("notes.txt", ""), "contains other files: name a new or an empty folder"),
        (with_file(KEPT, "{"), "is damaged, or of another version"),
        (with_file(KEPT, '{"unknown": 1}'), "is damaged, or of another version"),
        (Path.mkdir, "the folder decides DATABASE_URL, SECRET_KEY, so it cannot be set"),
        (Installation, "a coordinator runs with .* already, as process"),
    ],
)
def test_it_says_why_a_folder_cannot_be_used(tmp_path: Path, prepare: Callable[[Path], object], message: str) -> None:
    in_use = prepare(tmp_path / "data")
    with pytest.raises(InstallationError, match=message):
        Installation(tmp_path / "data", settings={"SECRET_KEY": "x", "DATABASE_URL": "x", "MAX_REQUEST_BYTES": "1"})
    del in_use
