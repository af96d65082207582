"""``pipelines dev``: release a pipeline on each save, for its author."""

from __future__ import annotations

import argparse
import json
import signal
import tempfile
from pathlib import Path
from typing import Any

from pipelines.errors import DefinitionError


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipeline", metavar="MODULE:NAME", help="such as acme.payments:pipeline")
    parser.add_argument(
        "--input", metavar="FILE|JSON", help="submit an execution with this input after each activation"
    )
    parser.set_defaults(run=_dev)


def _dev(arguments: argparse.Namespace) -> int:
    """Release on each save until Ctrl-C. Imports what it needs here only."""
    from pipelines.development import coordinator
    from pipelines.development.session import Session

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    given = arguments.input
    if given is not None:
        _input(given)
    source = f", of {coordinator.FILE}" if coordinator.read_file() else ""
    client = coordinator.client()
    print(f"coordinator {client.connection.url}, tenant {client.connection.tenant}{source}", flush=True)
    with tempfile.TemporaryDirectory(prefix="pipelines-dev-") as folder:
        Session(arguments.pipeline, client, None if given is None else lambda: _input(given), Path(folder)).run()
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _input(given: str) -> Any:
    """Return JSON, or that of a file, which is read each time. Raises ``DefinitionError`` INVALID_INPUT."""
    try:
        text = Path(given).read_text(encoding="utf-8") if not given.lstrip().startswith(("{", "[", '"')) else given
    except (OSError, UnicodeDecodeError):
        text = given  # such as a number
    try:
        return json.loads(text)
    except ValueError as error:
        raise DefinitionError("INVALID_INPUT", f"--input is neither JSON nor a file with JSON: {error}") from None
