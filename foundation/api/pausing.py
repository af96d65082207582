"""Requests that wait for work that another process does, and the time that they have spent.

A request that sleeps would occupy its slot and its database connection (`coordinator.request_slots`). A paused request
occupies only a thread.
"""

import time

from django.http import HttpRequest

PAUSE = "coordinator.pause"
"""The member of the WSGI environment that sleeps for a number of seconds without a slot.

It raises `SlowRequestsBusy` if too many requests wait already. A server without slots has no such member.
"""

ARRIVED = "coordinator.arrived"
"""The member of the WSGI environment with the time of the monotonic clock before the body was read.

A server without slots has no such member.
"""


def arrived_at(request: HttpRequest) -> float:
    """Return the time of the monotonic clock at which the request arrived, or the present time if it is not known."""
    arrived: float = request.META.get(ARRIVED) or time.monotonic()
    return arrived


def pause(request: HttpRequest, seconds: float) -> None:
    """Sleep. Other requests can use the slot and the connection of this one meanwhile. Raises `SlowRequestsBusy`.

    In a transaction, the request keeps both.
    """
    request.META.get(PAUSE, time.sleep)(seconds)
