"""Separates the transitions that a worker runs from each other."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TypeVar

from pipelines.failures import Failed, failed_by, log_failure

_T = TypeVar("_T")


class Boundary:
    """Runs transitions so that none affects another. Safe to use from many threads."""

    def __init__(self) -> None:
        self._recursion_limit = sys.getrecursionlimit()

    def run(self, execution_id: object, attempt: Callable[[], _T], failure: Callable[[Failed], _T]) -> _T:
        """Return the result of `attempt`. If it raises any exception, return `failure` of that exception.

        A lowered recursion limit and `logging.disable` are undone. A raised recursion limit stays, because another
        step may need it now.
        """
        try:
            return attempt()
        except BaseException as error:
            self._restore()
            failed = failed_by(error)
            log_failure(execution_id, failed)
            return failure(failed)
        finally:
            self._restore()

    def _restore(self) -> None:
        if sys.getrecursionlimit() < self._recursion_limit:
            sys.setrecursionlimit(self._recursion_limit)
        if logging.root.manager.disable:
            logging.disable(logging.NOTSET)
