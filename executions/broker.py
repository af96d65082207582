"""The broker's client with three mends, for the control worker and the transition worker alike.

When the broker goes away while a message is in hand, kombu's channel is closed under it. Acknowledging or putting
back the message then fails in a way that Celery does not expect, and the whole process ends. With these it goes on
and connects again; the message is delivered again once its visibility times out.
"""

import contextlib
from typing import Any

from celery.concurrency.asynpool import AsynPool
from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import ConnectionError as ConnectionLostError

_Pool: Any = AsynPool  # its stubs tell little of it
_track = _Pool._track_child_process


def _track_child_process(pool: Any, process: Any, hub: Any) -> None:
    """A pool process that died just before the broker came back has lost its mark, which Celery then trips over.

    Marked anew it is found dead and replaced; one that is gone altogether needs no mark.
    """
    if getattr(process, "_sentinel_poll", 0) is None:
        del process._sentinel_poll
    with contextlib.suppress(OSError):
        _track(pool, process, hub)


class Channel(redis.Channel):
    # Putting messages back over the connection that was lost cannot work, and need not.
    do_restore = False

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None:
            raise ConnectionLostError("The channel was closed when the broker went away.")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # not in the stubs
        return parameters


class Transport(redis.Transport):
    Channel = Channel


def survive_broker_loss() -> None:
    """Have every `redis://` and `rediss://` connection of this process use the mended client, and the pool with it."""
    _Pool._track_child_process = _track_child_process
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:Transport"))
