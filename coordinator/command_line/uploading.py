"""Uploads of releases, with the code of `pipelines publish`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from coordinator.command_line.errors import CommandError, Exit, exit_for
from coordinator.command_line.session import Session
from coordinator.command_line.text import clean

SHOWN: Final = ("pipelineId", "contractVersion", "releaseVersion", "status", "descriptorDigest", "findings")


def upload(session: Session, folder: Path, attach: Sequence[Path]) -> dict[str, Any]:
    """Upload the release in a folder, and return it when its verification is over. Raises `CommandError`.

    On a terminal, stderr shows a progress bar.
    """
    from pipelines.errors import DefinitionError
    from pipelines.release import connection, publish

    where = session.client.connection
    if where.ca_file:
        raise CommandError("releases upload: --ca-file is not supported; set SSL_CERT_FILE or use pipelines publish")
    target = connection.Target(where.url, where.tenant, where.token)
    with _Progress() as progress:
        try:
            return publish.publish(folder, target, progress=progress.show, attach=attach)
        except connection.CoordinatorRefused as error:
            raise CommandError(str(error), exit_for(error.status)) from None
        except DefinitionError as error:
            codes = {each.code for each in error.errors}
            overdue = Exit.OVERDUE if "VERDICT_OVERDUE" in codes else Exit.USAGE
            status = Exit.UNREACHABLE if "COORDINATOR_UNREACHABLE" in codes else overdue
            raise CommandError("\n".join(str(each) for each in error.errors), status) from None


def announce(session: Session, folder: Path) -> int:
    """Say what would be uploaded. Raises `CommandError` if there is no valid descriptor."""
    from wire.documents.descriptor import parse_descriptor
    from wire.findings import DocumentError

    file = folder / "pipeline-release.json"
    try:
        descriptor = parse_descriptor(file.read_bytes())
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from None
    except DocumentError as error:
        raise CommandError(f"{file} is not a valid release descriptor: {error}") from None
    session.output.text(
        f"would upload {clean(descriptor.release_version)} of {clean(descriptor.pipeline_id)} from {clean(folder)}"
    )
    return Exit.OK


class _Progress:
    """A progress bar on stderr, if that is a terminal."""

    def __enter__(self) -> _Progress:
        self._bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

            self._bar = Progress(BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=Console(stderr=True))
            self._task = self._bar.add_task("upload", total=None)
            self._bar.start()
        return self

    def show(self, sent: int, total: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=sent, total=total)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
