"""`coordinator dev`: a coordinator on this machine for the authors of pipelines."""

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from coordinator_client.errors import ClientError
from embedded.children import ChildError
from embedded.installation import ENVIRONMENT, Installation, InstallationError

DATA = Path(".coordinator")
ABOUT = (
    "Start PostgreSQL, Valkey and a coordinator on this machine, with a tenant, a user and a token. Print the address"
    " of the admin, and the file that tells the commands `coordinator` and `pipelines` how to connect. Ctrl-C stops"
    " everything; the next start continues with the data."
)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="coordinator dev", allow_abbrev=False, description=ABOUT)
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help=f"the folder with data and logs; default: {DATA}"
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run a coordinator until Ctrl-C. Return 0 then, and 1 if it cannot start or one of its processes ends."""
    data: Path = parser().parse_args(arguments).data
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        with Installation(data) as installation:
            _run(installation, data)
    except (InstallationError, ClientError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ChildError as error:
        print(f"error: {error}\nThe logs are in {data / 'logs'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _run(installation: Installation, data: Path) -> NoReturn:
    console = Console(stderr=True, highlight=False)
    with installation.starting(console.status):
        pass
    with console.status("Starting the web process, the control worker and the clock"):
        installation.wait_until_ready()
    environment = data / ENVIRONMENT
    installation.write_environment(environment)
    if installation.moved:
        print("note: other programs use ports of the last start: source the file again", file=sys.stderr)
    kept = installation.kept
    print(f"address   {installation.product.url}/admin/\nuser      {kept.user}\npassword  {kept.password}")
    print(f"source {shlex.quote(str(environment))}", flush=True)
    while True:
        time.sleep(0.5)
        installation.require_running()
