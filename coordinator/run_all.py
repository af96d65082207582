"""`coordinator run all`: prepares an installation on one machine, and runs its processes as children.

They are forked when this process has loaded everything and migrated, so they start at once and share its memory.
"""

import gc
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module

from django.core.management import call_command

from coordinator.parent import end_with
from coordinator.run import load, run
from foundation.telemetry import shared_files

_PROCESSES = (["control"], ["clock"], ["web", "--processes=1"])
_PROGRAMS = ("celery.bin.worker", "celery.bin.beat", "celery.apps.worker", "celery.apps.beat", "granian.cli")


def run_all() -> None:
    """Prepare with the options in `sys.argv`, as `coordinator prepare` does. The first is the port.

    Ends when one of the processes ends, with its status, and at SIGTERM. The others are ended, too.
    """
    load()
    for name in _PROGRAMS:
        import_module(name)
    _, port, *options = sys.argv
    children: set[int] = set()
    call_command("prepare", *options, migrated=lambda: _start(port, children))
    _, status = os.wait()
    _end(children)
    with suppress(ChildProcessError):
        while True:
            os.wait()
    sys.exit(os.waitstatus_to_exitcode(status))


def _start(port: str, children: set[int]) -> None:
    gc.collect()
    gc.freeze()  # the collector would write into the pages of all objects
    parent = os.getpid()
    for name, *options in _PROCESSES:
        pid = os.fork()
        if pid == 0:
            _become(parent, name, *options, *([port] if name == "web" else []))
        children.add(pid)
    signal.signal(signal.SIGTERM, lambda *_: _end(children))


def _become(parent: int, *arguments: str) -> None:
    """Run a process in this child, with separate counts. The standard output is the preparation's."""
    end_with(parent)
    os.dup2(2, 1)
    shared_files.share_counts()
    run(arguments)


def _end(children: set[int]) -> None:
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
