"""The line between the worker and the author's code: whatever crosses it is a result or a failure."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TypeVar

from pipelines.failures import Failed, failed_by, report

_T = TypeVar("_T")


class Boundary:
    """Runs transitions so that none can harm another. Safe to use from many threads."""

    def __init__(self) -> None:
        self._recursion_limit = sys.getrecursionlimit()

    def run(self, execution_id: object, attempt: Callable[[], _T], failure: Callable[[Failed], _T]) -> _T:
        """The result of `attempt`; where it raises anything at all, `failure` of that.

        A recursion limit that the author's code lowered, and `logging.disable`, are undone. A limit that it raised
        stays, since another step may need it at this moment.
        """
        try:
            return attempt()
        except BaseException as error:
            self._restore()
            failed = failed_by(error)
            report(execution_id, failed)
            return failure(failed)
        finally:
            self._restore()

    def _restore(self) -> None:
        if sys.getrecursionlimit() < self._recursion_limit:
            sys.setrecursionlimit(self._recursion_limit)
        if logging.root.manager.disable:
            logging.disable(logging.NOTSET)
