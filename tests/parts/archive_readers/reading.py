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

Files = dict[str, str] | None


def read_by_all(archives: list[Path], scratch: Path) -> dict[Path, dict[str, Files]]:
    """Return the files that each reader finds in each archive. Folders are omitted, since some readers report none."""
    found: dict[Path, dict[str, Files]] = {archive: {"zipfile": _zipfile(archive)} for archive in archives}
    for number, archive in enumerate(archives):
        for name, command in {
            "unzip": ["unzip", "-qq", "-o", str(archive), "-d", "."],
            "libarchive": ["bsdtar", "-xf", str(archive)],
            "libarchive, streaming": ["bsdtar", "-xf", "-"],
        }.items():
            found[archive][name] = _extracted(command, archive, scratch / f"{number} {name}")
    for archive, by_java in _java(archives).items():
        found[archive].update(by_java)
    return found


def _zipfile(archive: Path) -> Files:
    try:
        with zipfile.ZipFile(archive) as file:
            return {info.filename: _digest(file.read(info)) for info in file.infolist() if not info.is_dir()}
    except Exception:
        return None


def _extracted(command: list[str], archive: Path, folder: Path) -> Files:
    folder.mkdir()
    with archive.open("rb") as stream:
        # A reader cannot seek in a pipe.
        done = subprocess.run(command, cwd=folder, input=stream.read(), capture_output=True, timeout=60, check=False)
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    found = {path.relative_to(folder).as_posix(): _digest(path.read_bytes()) for path in files}
    shutil.rmtree(folder)
    return found if done.returncode == 0 else None


def _java(archives: list[Path]) -> dict[Path, dict[str, Files]]:
    command = ["java", "-Dfile.encoding=UTF-8", str(JAVA_SOURCE), *map(str, archives)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found: dict[Path, dict[str, Files]] = {archive: {"JarFile": {}, "ZipInputStream": {}} for archive in archives}
    for line in done.stdout.splitlines():
        reader, archive, name, digest = line.split("\t")
        by_reader = found[Path(archive)]
        if name == "FAILED":
            by_reader[reader] = None
        elif (files := by_reader[reader]) is not None and not (text := bytes.fromhex(name).decode()).endswith("/"):
            files[text] = digest
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
