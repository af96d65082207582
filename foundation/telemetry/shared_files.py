"""Files in which the web processes of one parent count, so that each answers with the sums.

The counts of a killed process stay in its files. They end with the parent: its folder is removed when another parent
starts. The parent calls this before anything imports prometheus-client, which reads the variable once.
"""

import logging
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from django.conf import settings

log = logging.getLogger(__name__)
VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
FOLDER_PREFIX: Final = "processes-of-"


def share_counts() -> None:
    """Share the counts of this process's children if a setting serves them. Otherwise each process counts alone.

    So it does if the folder cannot be used.
    """
    if not (settings.METRICS_TOKEN or settings.METRICS_PORT):
        return
    try:
        share(Path(tempfile.gettempdir()) / f"coordinator-metrics-{os.getuid()}", os.getpid())
    except OSError as error:
        log.warning("Each web process counts alone: %s", error)


def share(place: Path, parent: int) -> None:
    """Count in a folder below `place` that belongs to the process `parent`, and remove those of ended parents.

    Raises OSError if the folder cannot be written, or if another user owns it.
    """
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != os.getuid():
        raise PermissionError(f"Another user owns {place}")
    current = place / f"{FOLDER_PREFIX}{_name(parent)}"
    current.mkdir(mode=0o700, exist_ok=True)
    for folder in place.glob(f"{FOLDER_PREFIX}*"):
        number = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if folder != current and number.isdecimal() and folder.name != f"{FOLDER_PREFIX}{_name(int(number))}":
            shutil.rmtree(folder, ignore_errors=True)
    os.environ[VARIABLE] = str(current)


def _name(process: int) -> str:
    """Return a name that no earlier process with the same number had, where the system tells when a process began."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return f"{process}-{fields[19]}"  # in ticks since the system started
    return f"{process}"
