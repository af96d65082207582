"""The WSGI entry point of the processes that `coordinator run web` forks when it has loaded all pages.

Each process dispatches the executions that it has accepted, and ends when its parent process ends.
"""

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from coordinator.parent import end_with

_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 128 * 1024
# Users of the admin have these slots in addition.
_RESERVED_SLOTS = 2
# A request that would wait longer for a slot gets 429.
_WAIT_SECONDS = 5.0
# How many connections never wait for the end of an execution.
_CONNECTIONS_LEFT = 1000


def _return_large_blocks() -> None:
    """Make glibc map each block of _LARGE_BYTES or more separately, so that its memory is returned when it is freed.

    This is glibc's default until the first such block is freed. Then glibc raises the threshold, up to 32 MiB, and
    allocates smaller blocks from the arenas of the threads, which keep the most memory that they ever needed. Another C
    library decides for itself.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def _hide_environment() -> None:
    """Make granian start the environment of each request empty. It would copy that of the process, with all secrets."""
    module: Any = import_module("granian.wsgi")
    module.os = SimpleNamespace(environ={})


_parent = multiprocessing.parent_process()
if _parent is not None:
    # Until granian's worker is ready, it has the signal handler of its parent, which has no effect here.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Otherwise it would survive a kill of its parent, and share the port with the workers of the next parent.
    end_with(_parent.pid)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coordinator.settings")

import django  # noqa: E402 - the code above must run as early as possible

logging.captureWarnings(True)
django.setup(set_prefix=False)

from django import db  # noqa: E402 - needs the set-up above
from django.conf import settings  # noqa: E402
from django.core import signals  # noqa: E402
from django.core.cache import close_caches  # noqa: E402
from django.core.handlers.base import reset_urlconf  # noqa: E402

from coordinator import boot_checks, request_slots, waits  # noqa: E402
from coordinator.monitoring import gauges, process  # noqa: E402
from coordinator.processes import Kind  # noqa: E402
from coordinator.run import most_connections  # noqa: E402
from coordinator.wsgi_handler import Handler  # noqa: E402
from executions.lifecycle.dispatch import begin, dispatch  # noqa: E402
from executions.state_machine.endings import demand  # noqa: E402
from executions.workers.registry import DISPATCH_TASK  # noqa: E402
from foundation import wakeup  # noqa: E402
from foundation.database import threads  # noqa: E402

# Each slot has its own connection and checks it, the cache is in memory, and all requests have the same addresses.
signals.request_finished.disconnect(db.close_old_connections)
signals.request_finished.disconnect(close_caches)
signals.request_finished.disconnect(reset_urlconf)
threads.keep_connections_by_thread()
process.guard_database()
boot_checks.require_ordinary_role()
boot_checks.note_settings("web")
_return_large_blocks()
if settings.WEB_DISPATCHES:
    wakeup.handle_here(DISPATCH_TASK, dispatch, begin)

_processes, _threads = boot_checks.granian_workers(sys.argv) or (None, 2**16)
_slots = settings.WEB_SLOTS + _RESERVED_SLOTS
_connections = most_connections()
application = waits.Waits(
    request_slots.in_slots(
        Handler(),
        slots=settings.WEB_SLOTS,
        reserve=_RESERVED_SLOTS,
        threads=_threads,
        longest_wait=_WAIT_SECONDS,
    ),
    most=max(_connections - _CONNECTIONS_LEFT, _connections // 2),
)
if _processes is not None:
    # One more looks at the executions for which clients wait.
    boot_checks.count_connections_soon(processes=_processes, threads=min(_slots, _threads) + 1)
if _parent is not None:
    _hide_environment()
    waits.defer_responses()
    application.end_at_signals()
    demand.always()  # it ends few executions: those that people cancel
    process.start(Kind.WEB, gauges.exposition, alive=request_slots.liveness)
