"""Which coordinator ``pipelines dev`` uses: that of the environment, or else one in the author's folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from coordinator_client.api import Client, Connection
from coordinator_client.errors import NotConnected
from coordinator_client.profiles import LOCAL, coordinator_url, is_token, variables_in
from pipelines.development import local_coordinator
from pipelines.errors import DefinitionError
from pipelines.release.publish import variable

_READ: Final = ("COORDINATOR_", "PIPELINES_")
_WORKER: Final = ("PIPELINES_BROKER_URL", "PIPELINES_WORKER_KEY")
_SECONDS: Final = 20.0


@contextmanager
def running(temporary: Path, say: Callable[[str], None]) -> Iterator[Client]:
    """Yield a client of the coordinator, and say which one it is.

    If the environment names none, it is the one of the folder. Unless that runs already, it is started if it is
    installed, and ends with the block.

    Raises ``DefinitionError`` MISSING_OPTION and COORDINATOR_NOT_STARTED, and ``ClientError``.
    """
    is_named = any(os.environ.get(f"{prefix}URL") for prefix in _READ)
    if is_named or _runs() or not local_coordinator.can_start():
        known = client()
        read = f", as {LOCAL} says" if not is_named else ""
        say(f"coordinator {known.connection.url}, tenant {known.connection.tenant}{read}")
        yield known
        return
    say("starting a coordinator in this folder, as `coordinator dev` does")
    started = local_coordinator.start(LOCAL.parent, temporary)
    try:
        say(started.wait())
        _read_file()
        yield client()
    finally:
        started.end()


def _runs() -> bool:
    """Return True if the coordinator of the folder answers. Sets its variables."""
    if not LOCAL.exists():
        return False
    _read_file()
    try:
        client().get("pipelines", pageSize=1)
    except NotConnected:
        return False
    return True


def _read_file() -> None:
    """Set the variables of LOCAL. Raises ``ClientError``."""
    os.environ.update({name: value for name, value in variables_in(LOCAL).items() if name.startswith(_READ)})


def client() -> Client:
    """Return a client for the variables. Raises ``DefinitionError`` MISSING_OPTION, which names all missing ones."""
    variables = {name: variable(name) for name in ("URL", "TENANT", "TOKEN")}
    missing = [f"COORDINATOR_{name}" for name, value in variables.items() if not value]
    missing += [name for name in _WORKER if not os.environ.get(name)]
    if missing or not is_token(variables["TOKEN"]):
        names = ", ".join(missing) or "a valid COORDINATOR_TOKEN"
        raise DefinitionError(
            "MISSING_OPTION",
            f"there is no {names}; `source` the file with the variables of a coordinator, or install what starts one "
            'here: pip install "durable-coordinator[embedded]"',
        )
    return Client(
        Connection(coordinator_url(variables["URL"]), variables["TENANT"], variables["TOKEN"], seconds=_SECONDS)
    )


def children_environment(tenant: str) -> dict[str, str]:
    """Return the environment of the processes that run the author's code: without the token and the webhook key."""
    hidden = {"COORDINATOR_TOKEN", "COORDINATOR_WEBHOOK_KEY", "PIPELINES_TOKEN"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "PIPELINES_TENANT": tenant}
