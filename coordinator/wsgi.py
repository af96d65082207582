"""The WSGI entry point: `granian --interface=wsgi coordinator.wsgi:application`.

A process that loads it sends out by itself what it has taken in, and ends when the one that forked it has ended.
"""

import multiprocessing
import os
import signal
import threading

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coordinator.settings")
application = get_wsgi_application()

from django.conf import settings  # noqa: E402 - Django is set up by now

from coordinator import bell  # noqa: E402
from executions.dispatch import dispatch  # noqa: E402
from executions.worker_registry import DISPATCH_TASK  # noqa: E402


def _end_with_parent() -> None:
    # Granian's workers go on when it is killed, and would share the port with those of the granian that comes next.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


threading.Thread(name="parent", target=_end_with_parent, daemon=True).start()
if settings.WEB_DISPATCHES:
    bell.answer_here(DISPATCH_TASK, dispatch)
