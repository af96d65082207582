"""How a person names a coordinator: with options, the environment, a profile, or the file of the working folder.

The profiles are in `config.toml` in `$XDG_CONFIG_HOME/coordinator`, by default `~/.config/coordinator`, or in the file
that `$COORDINATOR_CONFIG` names. Only its owner may read it, because it contains tokens.
"""

import json
import os
import shlex
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from coordinator_client.api import SECONDS, Connection
from coordinator_client.errors import ClientError
from wire.addresses import is_web_address

_MEMBERS: Final = frozenset({"url", "tenant", "token", "token_file", "ca_file"})
LOCAL: Final = Path(".coordinator", "coordinator.env")
"""In the working folder: the variables of the coordinator that `coordinator dev` runs there."""
LARGEST_FILE: Final = 1_000_000
"""The largest configuration file, and the largest file with a token, in bytes."""


def local_advice() -> str:
    """Return how a command that needs variables gets those of LOCAL; an empty text without that file."""
    return f", or run `source {LOCAL}`" if LOCAL.exists() else ""


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
        """Return the profile `name`, or the default one if it is empty. Raises `ClientError` if it is unknown."""
        name = name or self.default
        if not name:
            return Profile()
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise ClientError(f"there is no profile {name!r}; known: {known}")
        return self.by_name[name]


def connection(
    *,
    profile: str = "",
    url: str = "",
    tenant: str = "",
    token: str = "",
    token_file: Path | None = None,
    ca_file: Path | None = None,
    request_seconds: float = SECONDS,
) -> Connection:
    """Return the connection that options, environment and profile name, in this order, and else the file LOCAL.

    The token of a profile is sent to no other URL than its own, and to the URL of LOCAL no other token than the one in
    LOCAL. Raises `ClientError`.
    """
    chosen = read(location()).chosen(profile or os.environ.get("COORDINATOR_PROFILE", ""))
    url = url or os.environ.get("COORDINATOR_URL", "") or chosen.url
    token = token_in(token_file) if token_file else token or os.environ.get("COORDINATOR_TOKEN", "").strip()
    if not url and not token and LOCAL.exists():
        chosen = _local_profile()
        url = chosen.url
    tenant = tenant or os.environ.get("COORDINATOR_TENANT", "") or chosen.tenant
    if missing := [name for name, value in (("URL", url), ("TENANT", tenant)) if not value]:
        names = " and ".join(f"COORDINATOR_{name}" for name in missing)
        raise ClientError(f"the coordinator or the tenant is not named: set {names}, or run `coordinator login`")
    url = coordinator_url(url)
    if not token:
        if (chosen.token or chosen.token_file) and url != chosen.url.rstrip("/"):
            raise ClientError("the token of a profile is for its own URL only; set COORDINATOR_TOKEN")
        token = chosen.token or (token_in(Path(chosen.token_file).expanduser()) if chosen.token_file else "")
    if not is_token(token):
        raise ClientError("there is no valid token: set COORDINATOR_TOKEN, or run `coordinator login`")
    authorities = ca_file or (Path(chosen.ca_file) if chosen.ca_file else None)
    return Connection(url, tenant, token, str(authorities.expanduser()) if authorities else "", request_seconds)


def coordinator_url(text: str) -> str:
    """Return the address of a coordinator without a slash at its end. Raises `ClientError` if it is none."""
    url = text.rstrip("/")
    if not is_web_address(url) or "?" in url:
        raise ClientError(
            f"{text!r} is not the http or https address of a coordinator, such as https://coordinator.example; "
            "correct --url or COORDINATOR_URL"
        )
    return url


def is_token(text: str) -> bool:
    """Return True if a text can be sent as a token."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def location() -> Path:
    if file := os.environ.get("COORDINATOR_CONFIG"):
        return Path(file)
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "coordinator" / "config.toml"


def read(file: Path) -> Profiles:
    """Return the profiles of a configuration file; none if it does not exist.

    Raises `ClientError` if the file is not valid, or others may read or write it.
    """
    try:
        text = _private_text(file)
    except FileNotFoundError:
        return Profiles()
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ClientError(f"{file} is not valid TOML: {error}") from None
    profiles = document.pop("profiles", {})
    default = document.pop("profile", "")
    if document or not isinstance(profiles, dict) or not isinstance(default, str):
        raise ClientError(f"{file} may contain `profile` and `profiles` only")
    return Profiles(default, {name: _profile(file, name, members) for name, members in profiles.items()})


def variables_in(file: Path) -> dict[str, str]:
    """Return the variables of a file such as LOCAL. Raises `ClientError`, also if others may read or change it."""
    try:
        tokens = shlex.split(_private_text(file), comments=True)
    except (FileNotFoundError, ValueError) as error:
        raise ClientError(f"{file} cannot be read: {error}") from None
    pairs = (word.partition("=") for word in tokens)
    return {name: value for name, equals, value in pairs if equals}


def _local_profile() -> Profile:
    variables = variables_in(LOCAL)
    return Profile(**{name: variables.get(f"COORDINATOR_{name.upper()}", "") for name in ("url", "tenant", "token")})


def write(file: Path, profiles: Profiles) -> None:
    """Replace the configuration file by one that only its owner may read."""
    lines = [f"profile = {json.dumps(profiles.default)}"] if profiles.default else []
    for name, profile in sorted(profiles.by_name.items()):
        members = [f"{member} = {json.dumps(value)}" for member, value in asdict(profile).items() if value]
        lines += ["", f"[profiles.{json.dumps(name)}]", *members]
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(file, "\n".join([*lines, ""]))
    except OSError as error:
        raise ClientError(f"{file} cannot be written: {error.strerror}") from None


def write_private(file: Path, text: str) -> None:
    """Replace a file by one that only its owner may read. Readers see all of it or its earlier content."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")  # with the mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(descriptor)
    Path(temporary).replace(file)


def token_in(file: Path) -> str:
    """Return the token in a file. Raises `ClientError` if others may read the file."""
    try:
        return _private_text(file).strip()
    except FileNotFoundError:
        raise ClientError(f"there is no file {file}") from None


def _private_text(file: Path) -> str:
    """Return the text of a file. Raises `ClientError` if others may read or write it, and `FileNotFoundError`."""
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            content = opened.read(LARGEST_FILE)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ClientError(f"{file} cannot be read: {error.strerror}") from None
    if stat.S_ISREG(status.st_mode) and (status.st_mode & 0o077 or status.st_uid not in {os.geteuid(), 0}):
        raise ClientError(f"{file} contains a token, and others may read or change it; run: chmod 600 {file}")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ClientError(f"{file} is not UTF-8") from None


def _profile(file: Path, name: str, members: Any) -> Profile:
    if not isinstance(members, dict) or not members.keys() <= _MEMBERS:
        raise ClientError(f"{file}: profile {name!r} may contain {', '.join(sorted(_MEMBERS))} only")
    if not all(isinstance(value, str) for value in members.values()):
        raise ClientError(f"{file}: the members of profile {name!r} must be texts")
    return Profile(**members)
