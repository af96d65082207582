"""A health check has a short time limit, and never runs twice at the same time."""

import threading

from coordinator.health import Check


def test_a_slow_check_counts_as_down_and_is_not_started_twice() -> None:
    go_on, begun = threading.Event(), []

    def wait() -> None:
        begun.append("once")
        go_on.wait(5)

    check = Check(wait)
    try:
        assert [check.status(), check.status()] == ["DOWN", "DOWN"]
    finally:
        go_on.set()
    assert begun == ["once"]
