"""``pipelines worker``: run a worker for one release."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path

from pipelines.commands.options import (
    add_coordinator,
    add_lock,
    add_release_name,
    add_secrets,
    import_from_here,
    release_of,
)
from wire.log_lines import FORMS

TERMINAL = "terminal"
"""The form of log lines for an author at a terminal, which are not for machines."""
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def add(parser: argparse.ArgumentParser) -> None:
    env = os.environ
    add_release_name(parser)
    code = parser.add_mutually_exclusive_group()
    code.add_argument("--artifact", type=Path, metavar="FILE", help="the artifact to host; default: the release's own")
    code.add_argument(
        "--fetch",
        action="store_true",
        help="download the artifact even if it is here; one that is not here is always downloaded",
    )
    code.add_argument(
        "--from-source",
        metavar="PIPELINE",
        help="for development: host this pipeline from the working folder; the worker reports its code as unverified",
    )
    add_lock(parser, "as installed here; with --from-source, the one with which the artifact was built")
    add_coordinator(parser)
    parser.add_argument(
        "--allow-environment-drift",
        action="store_true",
        help="start although this environment differs from the one that the artifact requires",
    )
    parser.add_argument(
        "--tenant", default=env.get("PIPELINES_TENANT"), help="the tenant's slug; default: $PIPELINES_TENANT"
    )
    parser.add_argument(
        "--broker-url", default=env.get("PIPELINES_BROKER_URL"), metavar="URL", help="default: $PIPELINES_BROKER_URL"
    )
    parser.add_argument(
        "--broker-ca-file",
        default=env.get("PIPELINES_BROKER_CA_FILE", ""),
        type=_absolute,
        metavar="FILE",
        help="certificates of authorities for a rediss:// or sentinels:// broker, in addition to those of the system; "
        "default: $PIPELINES_BROKER_CA_FILE",
    )
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="contains the tenant's worker key; default: $PIPELINES_WORKER_KEY"
    )
    add_secrets(parser)
    parser.add_argument("--worker-id", metavar="ID", help="default: made from host and process")
    parser.add_argument(
        "--concurrency",
        type=_positive,
        default=1,
        metavar="N",
        help="how many executions it runs at a time; default: 1",
    )
    parser.add_argument(
        "--replace-threads",
        type=_number,
        metavar="N",
        help="replace up to N threads whose steps exceeded their time limits and continue; default: --concurrency",
    )
    parser.add_argument(
        "--exit-when-abandoned",
        type=_positive,
        metavar="N",
        help="with N such threads, finish what runs and end with status 75, for a supervisor to start the worker again",
    )
    parser.add_argument(
        "--protocol", choices=("celery", "rest"), default="celery", help="how the coordinator calls it; default: celery"
    )
    parser.add_argument(
        "--bind", default="127.0.0.1:8090", metavar="HOST:PORT", help="rest: where to listen; default: 127.0.0.1:8090"
    )
    parser.add_argument(
        "--payload-prefix",
        action="append",
        metavar="PREFIX",
        help="rest: types to accept in addition to the pipeline's own",
    )
    parser.add_argument(
        "--traces-endpoint",
        default=env.get("PIPELINES_TRACES_ENDPOINT", ""),
        metavar="URL",
        help="export spans to this OTLP/HTTP endpoint; default: $PIPELINES_TRACES_ENDPOINT, or none",
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=0,
        metavar="PORT",
        help="celery: where to serve /metrics and /live; default: nowhere",
    )
    parser.add_argument(
        "--metrics-host", default="127.0.0.1", metavar="HOST", help="the address of --metrics-port; default: 127.0.0.1"
    )
    parser.add_argument(
        "--log-level", type=str.upper, choices=LOG_LEVELS, default="INFO", metavar="LEVEL", help="default: INFO"
    )
    parser.add_argument(
        "--log-format",
        choices=(*FORMS, TERMINAL),
        default=env.get("PIPELINES_LOG_FORMAT") or "text",
        help="the form of log lines; default: $PIPELINES_LOG_FORMAT, or text",
    )
    parser.add_argument(
        "--end-with-stdin",
        action="store_true",
        help="when stdin is closed, end as after SIGTERM: a process that holds its other end may be killed",
    )
    parser.set_defaults(run=_run)


def _absolute(path: str) -> str:
    """Return the path independent of the working folder, which a worker changes. An empty path stays empty."""
    return str(Path(path).absolute()) if path else ""


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is not at least 0")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _end(number: int, _: object) -> None:
    """Remove the unpacked artifact and end as the signal does by default. The author's code cannot catch this."""
    from pipelines.worker.artifact import remove_private_folders

    remove_private_folders()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(signal.Signals(number))


def _release_of_stdin() -> str:
    """Wait for the first line of stdin, which names the release. End the process at the end of stdin."""
    line = b""
    while not line.endswith(b"\n"):
        if not (piece := os.read(0, 1)):  # no byte more than the line, in contrast to `sys.stdin`
            raise SystemExit(0)
        line += piece
    return os.fsdecode(line[:-1])


def end_with_stdin() -> None:
    """Send SIGTERM to this process when stdin is closed. Steps and their programs get an empty stdin instead."""
    stdin, empty = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)

    def wait() -> None:
        while os.read(stdin, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def _run(arguments: argparse.Namespace) -> int:
    """Run a worker. Imports Celery here only, because the other commands need no broker."""
    arguments.release = release_of(arguments)
    signal.signal(signal.SIGTERM, _end)  # until the worker runs and replaces this
    if arguments.protocol == "rest":
        from pipelines.worker.rest_worker import main
    else:
        from pipelines.worker.celery_worker import main
    if arguments.release == "-":
        arguments.release = _release_of_stdin()
    if arguments.end_with_stdin:
        end_with_stdin()
    if arguments.from_source:
        import_from_here()
    return main(arguments)
