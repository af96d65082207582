"""The number of commands in one message."""

from tests.cases import cases
from wire.messages.grouping import MOST_BYTES, MOST_COMMANDS, commands_in_a_message, groups


@cases(
    ("due", "threads", "seconds", "most"),
    [
        (500, 2, None, 1),  # the duration is unknown
        (500, 2, 60.0, 1),  # a slow command is sent alone
        (500, 2, 0.05, 2),  # at most the work of one thread in a tenth of a second
        (500, 2, 0.0, MOST_COMMANDS),
        (1, 2, 0.001, 10),  # a limit: a single command is sent alone
        (40, 4, 0.001, 10),  # shared evenly, but each message carries at least the work that it costs
        (40, 2, 0.001, 20),  # each thread gets its share
    ],
)
def test_a_message_is_worth_its_cost_and_no_thread_gets_more_than_its_share(
    due: int, threads: int, seconds: float | None, most: int
) -> None:
    assert commands_in_a_message(due, threads=threads, seconds=seconds) == most


def test_groups_keep_the_order_and_are_bounded_by_number_and_bytes() -> None:
    assert list(groups([1, 2, 3, 4, 5], [1] * 5, most=2)) == [[1, 2], [3, 4], [5]]
    sizes = [10, MOST_BYTES - 5, 10, MOST_BYTES * 3, 10]
    assert list(groups("abcde", sizes, most=100)) == [["a"], ["b"], ["c"], ["d"], ["e"]]
    assert list(groups("abc", [10, MOST_BYTES - 10, 1], most=100)) == [["a", "b"], ["c"]]
