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
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help="a setting of the coordinator for this start, such as MAX_REQUEST_BYTES=8388608; may be repeated",
    )
    return parser


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier() or not name.isupper():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def main(arguments: Sequence[str]) -> int:
    """Run a coordinator until Ctrl-C. Return 0 then, and 1 if it cannot start or one of its processes ends."""
    options = parser().parse_args(arguments)
    data: Path = options.data
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        with Installation(data, settings=dict(options.set)) as installation:
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
