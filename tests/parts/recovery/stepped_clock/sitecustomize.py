"""Moves the wall clock of `coordinator run clock`, as if the time of its host was set.

Python imports this module at the start of a process whose path contains its folder. The file that STEPPED_CLOCK names
contains the seconds. Monotonic clocks are unchanged.
"""

import datetime
import os
import sys
import time
from pathlib import Path
from typing import Any

_real_time = time.time
_Datetime = datetime.datetime


def _step() -> float:
    file = os.environ["STEPPED_CLOCK"]
    return float(Path(file).read_text() or 0) if Path(file).exists() else 0.0


class _IsAny(type):
    """Instances of the real class, which the C code of libraries makes, are instances too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Datetime)


class _Stepped(_Datetime, metaclass=_IsAny):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return _Datetime.now(tz) + datetime.timedelta(seconds=_step())


if sys.orig_argv[-2:] == ["run", "clock"]:
    time.time = lambda: _real_time() + _step()
    time.time_ns = lambda: int(time.time() * 1_000_000_000)
    datetime.datetime = _Stepped  # type: ignore[misc]
