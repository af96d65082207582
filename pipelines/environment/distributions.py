"""The distributions that are installed for this process, as their folders in site-packages describe them.

`importlib.metadata` parses each METADATA file, which takes ten times as long. A worker needs only what the names of the
folders and the RECORD files say (PEP 376).
"""

from __future__ import annotations

import base64
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_METADATA: Final = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-[^-]+)?\.(dist-info|egg-info)")
_HASH: Final = "sha256="


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution. ``name`` is normalised (PEP 503). ``metadata`` is its folder in site-packages."""

    name: str
    version: str
    metadata: Path

    @property
    def record(self) -> bytes:
        """The list of the distribution's files with their digests; empty if the installer wrote none."""
        try:
            return (self.metadata / "RECORD").read_bytes()
        except OSError:
            return b""


def site_folders() -> list[str]:
    """Return the folders on ``sys.path`` into which distributions are installed, without those that .pth files add."""
    installed = {*site.getsitepackages(), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if site.ENABLE_USER_SITE:
        installed.add(site.getusersitepackages())
    return [folder for folder in sys.path if folder in installed]


def installed_distributions() -> list[Distribution]:
    """Return the installed distributions in the order of their names. The first on the path counts, as in an import."""
    found: dict[str, Distribution] = {}
    for folder in site_folders():
        for path in sorted(Path(folder).glob("*-info")):
            if (match := _METADATA.fullmatch(path.name)) is not None:
                distribution = Distribution(normalised(match["name"]), match["version"], path)
                found.setdefault(distribution.name, distribution)
    return [found[name] for name in sorted(found)]


def normalised(name: str) -> str:
    """Return the normalised name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def recorded_modules() -> dict[str, str]:
    """Return the recorded SHA-256 digest, in hexadecimal, of each installed file of code by its absolute path."""
    return {
        os.path.join(os.path.realpath(each.metadata.parent), name): digest  # noqa: PTH118 - thousands of files
        for each in installed_distributions()
        for name, digest in _recorded(each.record.decode(errors="replace"))
    }


def _recorded(record: str) -> Iterator[tuple[str, str]]:
    for line in record.splitlines():
        name, _, rest = line.rpartition(f",{_HASH}")
        if name.endswith((".py", ".so")) and not name.startswith(".."):
            yield name.strip('"').replace('""', '"'), _hexadecimal(rest.partition(",")[0])


def _hexadecimal(digest: str) -> str:
    """Return the hexadecimal form of a digest in URL-safe base64 without padding, as RECORD has it."""
    return base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4)).hex()
