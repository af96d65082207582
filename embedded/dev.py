"""`coordinator dev`: a coordinator on this machine for the authors of pipelines, whose data stays in one folder."""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from embedded.children import ChildError
from embedded.installation import Installation, InstallationError

DATA = Path(".coordinator")


def main(arguments: Sequence[str]) -> int:
    """Run a coordinator until Ctrl-C. Return 0 then, and 1 if it cannot start or one of its processes ends."""
    parser = argparse.ArgumentParser(prog="coordinator dev", allow_abbrev=False, description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help=f"keeps the data between two starts; default: {DATA}"
    )
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        with Installation(options.data) as installation:
            _run(installation, options.data)
    except (InstallationError, ChildError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _run(installation: Installation, data: Path) -> None:
    console = Console(stderr=True, highlight=False)
    with installation.starting(console.status):
        pass
    with console.status("Starting the web process, the control worker and the clock"):
        installation.product.wait_until_ready()
    file = installation.write_environment(data / "coordinator.env")
    print(f"address   {installation.product.url}/admin/")
    print(f"user      {installation.kept.user}")
    print(f"password  {installation.kept.password}")
    print(f"source {file}", flush=True)
    while True:
        time.sleep(0.5)
        installation.require_running()
