"""``pipelines dev``: release a pipeline on each save, for its author."""

from __future__ import annotations

import argparse
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

from pipelines.commands.options import add_pipeline


def add(parser: argparse.ArgumentParser) -> None:
    add_pipeline(parser)
    parser.add_argument(
        "--input", metavar="FILE|JSON", help="submit an execution with this input after each activation"
    )
    parser.set_defaults(run=_dev)


def _dev(arguments: argparse.Namespace) -> int:
    """Release on each save until Ctrl-C. Imports what it needs here only."""
    from pipelines.commands.local_execution import document_in
    from pipelines.development import coordinator
    from pipelines.development.session import Session
    from pipelines.development.terminal import Terminal

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    source: str | None = arguments.input
    document = document_in(source) if source is not None else None
    file = _file(source)

    def given() -> object:
        return document if file is None else document_in(str(file))

    terminal = Terminal()
    temporary = tempfile.TemporaryDirectory(prefix="pipelines-dev-", ignore_cleanup_errors=True)
    with suppress(KeyboardInterrupt), temporary as folder, coordinator.running(Path(folder), terminal.line) as client:
        given_input = None if source is None else given
        Session(arguments.pipeline, client, Path(folder), given=given_input, given_file=file).run()
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _file(source: str | None) -> Path | None:
    """Return the file that ``--input`` names, which is read for each execution; None for JSON and standard input."""
    try:
        return Path(source) if source is not None and Path(source).is_file() else None
    except OSError:  # JSON that is too long for a name
        return None
