"""The files that mainstream readers find in archives: digests by name, or None if a reader fails."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zipfile
from pathlib import Path

JAVA_SOURCE = Path(__file__).with_name("Readers.java")
PROGRAMS = ("java", "javac", "jar", "unzip", "bsdtar")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
HOW_TO_INSTALL = "on Debian: apt-get install default-jdk-headless unzip libarchive-tools"

Seen = dict[str, str] | None


def read_by_all(archives: list[Path], scratch: Path) -> dict[Path, dict[str, Seen]]:
    """Return the files that each reader finds in each archive. Folders are omitted, since some readers report none."""
    seen: dict[Path, dict[str, Seen]] = {archive: {"zipfile": _zipfile(archive)} for archive in archives}
    for number, archive in enumerate(archives):
        for name, command in {
            "unzip": ["unzip", "-qq", "-o", str(archive), "-d", "."],
            "libarchive": ["bsdtar", "-xf", str(archive)],
            "libarchive, streaming": ["bsdtar", "-xf", "-"],
        }.items():
            seen[archive][name] = _extracted(command, archive, scratch / f"{number} {name}")
    for archive, by_java in _java(archives).items():
        seen[archive].update(by_java)
    return seen


def _zipfile(archive: Path) -> Seen:
    try:
        with zipfile.ZipFile(archive) as file:
            return {info.filename: _digest(file.read(info)) for info in file.infolist() if not info.is_dir()}
    except Exception:
        return None


def _extracted(command: list[str], archive: Path, folder: Path) -> Seen:
    folder.mkdir()
    with archive.open("rb") as stream:
        # A reader cannot seek in a pipe.
        done = subprocess.run(command, cwd=folder, input=stream.read(), capture_output=True, timeout=60, check=False)
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    seen = {path.relative_to(folder).as_posix(): _digest(path.read_bytes()) for path in files}
    shutil.rmtree(folder)
    return seen if done.returncode == 0 else None


def _java(archives: list[Path]) -> dict[Path, dict[str, Seen]]:
    command = ["java", "-Dfile.encoding=UTF-8", str(JAVA_SOURCE), *map(str, archives)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    seen: dict[Path, dict[str, Seen]] = {archive: {"JarFile": {}, "ZipInputStream": {}} for archive in archives}
    for line in done.stdout.splitlines():
        reader, archive, name, digest = line.split("\t")
        by_reader = seen[Path(archive)]
        if name == "FAILED":
            by_reader[reader] = None
        elif (files := by_reader[reader]) is not None and not (text := bytes.fromhex(name).decode()).endswith("/"):
            files[text] = digest
    return seen


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
