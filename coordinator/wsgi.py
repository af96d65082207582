"""The WSGI entry point: `gunicorn coordinator.wsgi`. Its process sends out by itself what it has taken in."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coordinator.settings")
application = get_wsgi_application()

from django.conf import settings  # noqa: E402 - Django is set up by now

from coordinator import bell  # noqa: E402
from executions.dispatch import dispatch  # noqa: E402
from executions.worker_registry import DISPATCH_TASK  # noqa: E402

if settings.WEB_DISPATCHES:
    bell.answer_here(DISPATCH_TASK, dispatch)
