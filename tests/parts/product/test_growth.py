"""No statement of the product reads more with more executions (docs/contributing/performance.md)."""

from benchmarks import growth

ROWS = 200_000


def test_statements_read_as_much_with_ten_times_the_executions_and_each_index_is_used() -> None:
    few, many = growth.counted(ROWS)
    assert [str(table) for table in growth.growths(few, many) if table.is_too_large and not table.reason] == []
    assert set(many.unread) <= growth.UNREAD.keys()
