"""Which coordinator ``pipelines dev`` uses: that of the environment, or the one that runs in the author's folder."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Final

from coordinator_client.api import Client, Connection
from coordinator_client.profiles import coordinator_url, is_token
from pipelines.errors import DefinitionError
from pipelines.release.publish import variable

FILE: Final = Path(".coordinator", "coordinator.env")
"""Written by ``coordinator dev`` in the same folder."""
_READ: Final = ("COORDINATOR_", "PIPELINES_")
_WORKER: Final = ("PIPELINES_BROKER_URL", "PIPELINES_WORKER_KEY")
_SECONDS: Final = 20.0


def read_file() -> bool:
    """Set the variables of FILE, unless the environment names a coordinator already. Return True if they were set.

    Raises ``DefinitionError`` FILE_UNREADABLE.
    """
    if any(os.environ.get(f"{prefix}URL") for prefix in _READ) or not FILE.exists():
        return False
    os.environ.update({name: value for name, value in variables_in(FILE).items() if name.startswith(_READ)})
    return True


def variables_in(file: Path) -> dict[str, str]:
    """Return the variables of a file that ``coordinator dev`` writes. Raises ``DefinitionError`` FILE_UNREADABLE."""
    try:
        words = shlex.split(file.read_text(encoding="utf-8"), comments=True)
    except (OSError, ValueError) as error:
        raise DefinitionError("FILE_UNREADABLE", f"{file} cannot be read: {error}") from error
    pairs = (word.partition("=") for word in words)
    return {name: value for name, equals, value in pairs if equals}


def client() -> Client:
    """Return a client for the variables. Raises ``DefinitionError`` MISSING_OPTION, which names all missing ones."""
    found = {name: variable(name) for name in ("URL", "TENANT", "TOKEN")}
    missing = [f"COORDINATOR_{name}" for name, value in found.items() if not value]
    missing += [name for name in _WORKER if not os.environ.get(name)]
    if missing or not is_token(found["TOKEN"]):
        names = ", ".join(missing) or "a valid COORDINATOR_TOKEN"
        raise DefinitionError(
            "MISSING_OPTION",
            f"there is no {names}; run `coordinator dev` in another terminal, in this folder, or `source` the file "
            "with the variables of a coordinator",
        )
    return Client(Connection(coordinator_url(found["URL"]), found["TENANT"], found["TOKEN"], seconds=_SECONDS))


def children_environment(tenant: str) -> dict[str, str]:
    """Return the environment of the processes that run the author's code: without the token of the coordinator."""
    hidden = {"COORDINATOR_TOKEN", "PIPELINES_TOKEN"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "PIPELINES_TENANT": tenant}
