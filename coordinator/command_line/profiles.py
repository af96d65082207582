"""The configuration file: named profiles, each with a coordinator, a tenant and a token.

It is `config.toml` in `$XDG_CONFIG_HOME/coordinator`, by default `~/.config/coordinator`, or the file that
`$COORDINATOR_CONFIG` names. Only its owner may read it, because it contains tokens.
"""

import json
import os
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from coordinator.command_line.errors import CommandError

_MEMBERS: Final = frozenset({"url", "tenant", "token", "token_file", "ca_file"})
LARGEST_TOKEN_FILE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Profile:
    url: str = ""
    tenant: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Profiles:
    """The profiles by name, and the name of the one that is used by default; empty if none is."""

    default: str = ""
    by_name: Mapping[str, Profile] = field(default_factory=dict)

    def chosen(self, name: str) -> Profile:
        """Return the profile `name`, or the default one if it is empty. Raises `CommandError` if it is unknown."""
        name = name or self.default
        if not name:
            return Profile()
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise CommandError(f"there is no profile {name!r}; known: {known}")
        return self.by_name[name]


def location() -> Path:
    if file := os.environ.get("COORDINATOR_CONFIG"):
        return Path(file)
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "coordinator" / "config.toml"


def read(file: Path) -> Profiles:
    """Return the profiles of a configuration file; none if it does not exist.

    Raises `CommandError` if the file is not valid, or others may read or write it.
    """
    try:
        text = _private_text(file)
    except FileNotFoundError:
        return Profiles()
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{file} is not valid TOML: {error}") from None
    profiles = document.pop("profiles", {})
    default = document.pop("profile", "")
    if document or not isinstance(profiles, dict) or not isinstance(default, str):
        raise CommandError(f"{file} may contain `profile` and `profiles` only")
    return Profiles(default, {name: _profile(file, name, members) for name, members in profiles.items()})


def write(file: Path, profiles: Profiles) -> None:
    """Replace the configuration file by one that only its owner may read."""
    lines = [f"profile = {json.dumps(profiles.default)}"] if profiles.default else []
    for name, profile in sorted(profiles.by_name.items()):
        members = [f"{member} = {json.dumps(value)}" for member, value in asdict(profile).items() if value]
        lines += ["", f"[profiles.{json.dumps(name)}]", *members]
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".config-")  # with the mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write("\n".join([*lines, ""]))
        Path(temporary).replace(file)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}") from None


def token_in(file: Path) -> str:
    """Return the token in a file. Raises `CommandError` if others may read the file."""
    try:
        return _private_text(file).strip()
    except FileNotFoundError:
        raise CommandError(f"there is no file {file}") from None


def _private_text(file: Path) -> str:
    """Return the text of a file. Raises `CommandError` if others may read or write it, and `FileNotFoundError`."""
    try:
        with file.open("rb") as opened:
            facts = os.fstat(opened.fileno())
            content = opened.read(LARGEST_TOKEN_FILE * 100)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from None
    if stat.S_ISREG(facts.st_mode) and (facts.st_mode & 0o077 or facts.st_uid not in {os.geteuid(), 0}):
        raise CommandError(f"{file} contains a token, and others may read or change it; run: chmod 600 {file}")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CommandError(f"{file} is not UTF-8") from None


def _profile(file: Path, name: str, members: Any) -> Profile:
    if not isinstance(members, dict) or not members.keys() <= _MEMBERS:
        raise CommandError(f"{file}: profile {name!r} may contain {', '.join(sorted(_MEMBERS))} only")
    if not all(isinstance(value, str) for value in members.values()):
        raise CommandError(f"{file}: the members of profile {name!r} must be texts")
    return Profile(**members)
