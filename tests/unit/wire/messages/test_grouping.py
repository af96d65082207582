"""The number of commands in one message."""

from wire.messages.grouping import MOST_BYTES, groups


def test_groups_keep_the_order_and_are_bounded_by_number_and_bytes() -> None:
    assert list(groups([1, 2, 3, 4, 5], [1] * 5, most=2)) == [[1, 2], [3, 4], [5]]
    sizes = [10, MOST_BYTES - 5, 10, MOST_BYTES * 3, 10]
    assert list(groups("abcde", sizes, most=100)) == [["a"], ["b"], ["c"], ["d"], ["e"]]
    assert list(groups("abc", [10, MOST_BYTES - 10, 1], most=100)) == [["a", "b"], ["c"]]
