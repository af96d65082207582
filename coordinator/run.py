"""`coordinator run PROCESS`: starts a process of the coordinator with the options that it needs.

The program runs in this process, which has read the settings already. So a supervisor signals it directly, and invalid
settings are reported before it starts. Options that this module does not know are passed on to it.
"""

import argparse
import gc
import multiprocessing
import os
import resource
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import django
from django.conf import settings
from django.utils.module_loading import import_string

from foundation.telemetry import shared_files

PROGRAMS = {
    "granian": "coordinator.run.granian",
    "celery": "coordinator.run.celery",
    "all": "coordinator.run_all.run_all",
}
"""The programs, and the functions that run them."""
APP = "coordinator.celery"
GRANIAN = ("granian", "--interface=wsgi", "coordinator.wsgi:application")
GRANIAN_LOGGING = Path(__file__).with_name("granian-logging.json")
WEB_OPTIONS = (
    # Most threads only wait for request bodies. WEB_SLOTS is the number of requests handled at once.
    "--blocking-threads=544",
    # At least CONN_MAX_AGE, so that threads do not end before their database connections are too old.
    "--blocking-threads-idle-timeout=60",
    "--http=1",
    # Also the limit for idle connections. A proxy must close them earlier.
    "--http1-header-read-timeout=60000",
    "--respawn-failed-workers",
    "--workers-kill-timeout=30",
)
MOST_CONNECTIONS = 21_000
"""The connections of a web process. Most of them are idle, or wait for the end of an execution."""
OTHER_FILES = 100
PROCESSES = {
    "web": "the admin and REST",
    "control": "a control worker: verifies, dispatches, records, sweeps",
    "clock": "the clock: sends periodic tasks",
    "all": "one of each, for an installation on one machine, such as that of `coordinator dev`",
}


def command_of(arguments: Sequence[str]) -> list[str]:
    """Return the command that `coordinator run` executes with these arguments. Exits with 2 if they are invalid."""
    options, passed_on = parser().parse_known_args(arguments)
    match options.process:
        case "web":
            command = _web(options)
        case "control":
            command = _celery("worker", f"--hostname={options.name}@%h")
            command += [f"--queues={options.queues}"] if options.queues else []
            command += [f"--concurrency={options.concurrency}"] if options.concurrency else []
        case "clock":
            command = _celery("beat", "--pidfile=")
        case _:
            command = ["all", f"--port={options.port or settings.WEB_PORT}"]
    return [*command, *passed_on]


def most_connections() -> int:
    """Return how many connections a web process accepts: each is a file, and other files must be left."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if most == resource.RLIM_INFINITY else max(min(MOST_CONNECTIONS, most - OTHER_FILES), 1)


def run(arguments: Sequence[str]) -> None:
    """Run the process that `arguments` name, and exit with its status."""
    sys.argv = command_of(arguments)
    if sys.argv[0] == "granian":
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sys.exit(import_string(PROGRAMS[sys.argv[0]])())


def granian() -> None:
    """Run the command in `sys.argv`: the processes that handle requests, as children of this one.

    The application is loaded before they are forked, so they start at once and share its memory. Nothing may connect
    or start a thread until then.
    """
    multiprocessing.set_start_method("fork")
    load()
    gc.collect()
    gc.freeze()  # the collector would write into the pages of all objects
    import_string("granian.cli.entrypoint")()


def load() -> None:
    """Load what web processes use, with the counts in files that this process and its children share."""
    shared_files.share_counts()
    django.setup()
    import_module(settings.ROOT_URLCONF)


def celery() -> None:
    """Run the command in `sys.argv`, a worker or the clock.

    Celery's own program would do the same, but loads all of its commands first, with their shells.
    """
    from celery import maybe_patch_concurrency
    from celery.bin.base import CLIContext

    maybe_patch_concurrency()
    start = sys.argv.index(APP) + 1
    name, *options = sys.argv[start:]
    context = CLIContext(
        app=import_string(f"{APP}.app"),
        no_color=bool(os.environ.get("NO_COLOR")),
        workdir=None,
        quiet="--quiet" in sys.argv[:start],
    )
    command = import_string(f"celery.bin.{name}.{name}")
    command.main(args=options, prog_name=f"celery {name}", obj=context, auto_envvar_prefix=f"CELERY_{name.upper()}")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="coordinator run", allow_abbrev=False, description=__doc__)
    choices = parser.add_subparsers(dest="process", required=True)
    web, control, clock, everything = (
        choices.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        for name, summary in PROCESSES.items()
    )
    web.add_argument("--host", help="the address to listen at (WEB_HOST)")
    web.add_argument("--port", type=int, help="the port to listen at (WEB_PORT)")
    web.add_argument("--processes", type=int, help="the number of processes that handle requests (WEB_PROCESSES)")
    control.add_argument("--queues", help="the queues to serve, separated by commas; all of them by default")
    control.add_argument("--concurrency", type=int, help="the number of threads; 12 by default")
    control.add_argument("--name", default="control-worker", help="distinguishes control workers on one host")
    everything.add_argument("--port", type=int, help="the port to listen at (WEB_PORT)")
    clock.add_argument("--schedule", help="no effect; earlier versions kept the last run of each job in this file")
    return parser


def _web(options: argparse.Namespace) -> list[str]:
    host = options.host or settings.WEB_HOST
    port = options.port or settings.WEB_PORT
    processes = options.processes or settings.WEB_PROCESSES
    logs = [f"--log-config={GRANIAN_LOGGING}"] if settings.LOG_FORMAT == "json" else []
    limits = [f"--workers={processes}", f"--backpressure={most_connections()}"]
    return [*GRANIAN, f"--host={host}", f"--port={port}", *limits, *WEB_OPTIONS, *logs]


def _celery(command: str, *options: str) -> list[str]:
    # Celery's banner is no line of JSON.
    quiet = ["--quiet"] if settings.LOG_FORMAT == "json" else []
    return ["celery", *quiet, "-A", APP, command, f"--loglevel={settings.LOG_LEVEL}", *options]
