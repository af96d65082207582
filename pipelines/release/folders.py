"""The folder of each release: where ``release`` and a download write it, and which one a path names.

A release is immutable, so its folder is never replaced by another release of that version.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pipelines.errors import DefinitionError
from pipelines.release.files import read_descriptor
from wire.documents.descriptor import DESCRIPTOR_NAME
from wire.documents.json_reader import shown

_UNUSUAL: Final = re.compile(r"[^\w.+-]|^\.", re.ASCII)
_NAME: Final = re.compile(r"(?P<pipeline>[A-Za-z0-9._-]{1,200})@(?P<version>.+)", re.DOTALL)
_SHOWN: Final = 5
"""How many differences or folders an error names."""


def folder_name(release_version: str) -> str:
    """Return the name of the folder of a release: its version, with ``-`` for what is unusual in file names."""
    return _UNUSUAL.sub("-", release_version)


def identity_in(name: str) -> tuple[str, str] | None:
    """Return the parts of a name such as ``org.example.orders@1.0``; None for other names and for paths."""
    found = None if Path(name).exists() else _NAME.fullmatch(name)
    return (found["pipeline"], found["version"]) if found else None


def descriptor_in(path: Path) -> Path:
    """Return the descriptor that ``path`` names: the file, or that of the only release in the folder.

    The releases in a folder are its own descriptor, and those of the folders in it. Raises ``DefinitionError``
    NO_RELEASE if the path names none, or several.
    """
    if not path.is_dir():
        if path.exists():
            return path
        known = _descriptors(path.parent)
        hint = (
            f"{path.parent} has {_listed(path.parent, known)}"
            if known
            else "name the folder of a release, or PIPELINE@VERSION"
        )
        raise DefinitionError("NO_RELEASE", f"there is no {shown(str(path))}; {hint}")
    descriptors = _descriptors(path)
    if len(descriptors) == 1:
        return descriptors[0]
    if descriptors:
        raise DefinitionError(
            "NO_RELEASE", f"{path} has {len(descriptors)} releases; name one of {_listed(path, descriptors)}"
        )
    command = f"pipelines release orders.py --release-version 1.0 --out {path}"
    raise DefinitionError("NO_RELEASE", f"there is no release in {path}; make one with {command}")


def _descriptors(folder: Path) -> list[Path]:
    """Return the descriptors in a folder and in its folders, the oldest first."""
    direct = folder / DESCRIPTOR_NAME
    below = [path for path in folder.glob(f"*/{DESCRIPTOR_NAME}") if not path.parent.name.startswith(".")]
    return [*([direct] if direct.is_file() else []), *sorted(below, key=lambda path: (path.stat().st_mtime, path))]


def _listed(folder: Path, descriptors: list[Path]) -> str:
    """Return the newest releases, each as an argument of a command."""
    names = [str(path if path.parent == folder else path.parent) for path in descriptors[-_SHOWN:]]
    return ", ".join([*(["…"] if len(descriptors) > _SHOWN else []), *names])


@contextmanager
def writing(out_dir: Path, release_version: str) -> Iterator[Path]:
    """Yield an empty folder. At the end of the block its files become the release's folder in ``out_dir``.

    Another process sees all of a new release or nothing. A release that exists is only completed: its descriptor stays.

    Raises ``DefinitionError``: RELEASE_EXISTS, OUT_DIR_UNWRITABLE. Then the folder of the release is unchanged.
    """
    target = out_dir / folder_name(release_version)
    try:
        with scratch(target) as folder:
            yield folder
            _place(folder, target)
    except OSError as error:
        raise DefinitionError("OUT_DIR_UNWRITABLE", f"cannot write {target}: {error.strerror or error}") from error


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """Yield a new hidden folder next to ``target``, which is removed at the end of the block.

    Raises ``DefinitionError`` OUT_DIR_UNWRITABLE.
    """
    folder = target.with_name(f".{target.name.lstrip('.')}.{secrets.token_hex(4)}")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise DefinitionError("OUT_DIR_UNWRITABLE", f"cannot write {target}: {error.strerror or error}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place(staged: Path, target: Path) -> None:
    try:
        staged.rename(target)  # over an empty folder, but over no other
        return
    except OSError:
        if not (target / DESCRIPTOR_NAME).is_file():
            raise
    _require_same(target, staged)
    for path in staged.iterdir():
        path.replace(target / path.name)


def _require_same(target: Path, new: Path) -> None:
    """Raise ``DefinitionError`` RELEASE_EXISTS if ``target`` contains another release than ``new``."""
    existing = target / DESCRIPTOR_NAME
    if not existing.is_file() or existing.read_bytes() == (new / DESCRIPTOR_NAME).read_bytes():
        return
    owner, other = (read_descriptor(folder / DESCRIPTOR_NAME).pipeline_id for folder in (target, new))
    if owner != other:
        raise DefinitionError("RELEASE_EXISTS", f"{target} is a release of {owner}; give {other} another --out")
    differs = _differences(target, new) or "its descriptor differs"
    raise DefinitionError(
        "RELEASE_EXISTS",
        f"{target} is another release of this version; {differs}. A release never changes: give this one another "
        f"--release-version. If {target} was never published, you can delete it instead",
    )


def _differences(old: Path, new: Path) -> str:
    """Return how the artifacts in two folders differ; empty if they do not."""
    from pipelines.release.conflict import contents, differences  # only errors need it

    names = sorted({path.name for folder in (old, new) for path in folder.glob("*.zip")})
    differing = [difference for name in names for difference in differences(contents(old / name), contents(new / name))]
    more = f" and {len(differing) - _SHOWN} more differences" if len(differing) > _SHOWN else ""
    return "; ".join(differing[:_SHOWN]) + more
