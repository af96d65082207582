"""The WSGI entry point: `granian --interface=wsgi coordinator.wsgi:application`.

A process that loads it sends out by itself what it has taken in, and ends when the one that forked it has ended.
"""

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.process import BaseProcess


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


_parent = multiprocessing.parent_process()
if _parent is not None:
    # Until granian's worker serves it has the handler of the process that forked it, which would do nothing here.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # It would go on when that process is killed, and share the port with the workers of the one that comes next.
    threading.Thread(name="parent", target=_end_with, args=[_parent], daemon=True).start()

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coordinator.settings")

from django.core.wsgi import get_wsgi_application  # noqa: E402 - SIGTERM ends the process from as early as possible

_django = get_wsgi_application()

from django.conf import settings  # noqa: E402 - Django is set up by now

from coordinator import connection_budget, memory, request_slots, role_check  # noqa: E402
from executions.lifecycle.dispatch import dispatch  # noqa: E402
from executions.workers.registry import DISPATCH_TASK  # noqa: E402
from foundation.wakeups import wakeup  # noqa: E402

role_check.require_ordinary_role()
memory.return_large_blocks()
if settings.WEB_DISPATCHES:
    wakeup.answer_here(DISPATCH_TASK, dispatch)

_processes, _threads = connection_budget.granian_workers(sys.argv) or (None, 2**16)
application = request_slots.in_slots(_django, slots=settings.WEB_SLOTS, threads=_threads)
if _processes is not None:
    connection_budget.check_soon(processes=_processes, threads=min(settings.WEB_SLOTS, _threads))
