"""Lists of many rows: their queries have time limits, and they count up to a number."""

from typing import Any, Final

from django.http import HttpRequest
from unfold.views import ChangeList

from foundation.database.bounded import count_up_to, time_limit
from foundation.errors import CoordinatorError, QueryTooSlow

LIST_SECONDS: Final = 5
COUNT_SECONDS: Final = 1
MOST_COUNTED: Final = 10_000


class BoundedList(ChangeList):
    """The rows of one page, and how many match. Needs `InfinitePaginator`.

    `count` is None if more than MOST_COUNTED rows match, or if counting them takes too long (`slow_count`). If
    reading the page takes too long, it is empty and `problem` says why.
    """

    count: int | None

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.slow_count = False
        self.problem: CoordinatorError | None = None
        try:
            with time_limit(LIST_SECONDS):
                self.result_list: Any = list(self.result_list)
            self.count = self._counted()
        except QueryTooSlow as problem:
            self.problem = problem
            self.result_list, self.count, self.slow_count = [], None, True

    def _counted(self) -> int | None:
        if len(self.result_list) < self.list_per_page and self.page_num == 1:
            return len(self.result_list)
        try:
            with time_limit(COUNT_SECONDS):
                return count_up_to(MOST_COUNTED, self.queryset)
        except QueryTooSlow:
            self.slow_count = True
            return None
