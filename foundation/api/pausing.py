"""Requests that wait for work that another process does.

A request that sleeps would occupy its slot and its database connection (`coordinator.request_slots`). A paused request
occupies only a thread.
"""

import time

from django.http import HttpRequest

PAUSE = "coordinator.pause"
"""The member of the WSGI environment that sleeps for a number of seconds without a slot.

It raises `SlowRequestsBusy` if too many requests wait already. A server without slots has no such member.
"""


def pause(request: HttpRequest, seconds: float) -> None:
    """Sleep. Other requests can use the slot and the connection of this one meanwhile. Raises `SlowRequestsBusy`.

    In a transaction, the request keeps both.
    """
    request.META.get(PAUSE, time.sleep)(seconds)
