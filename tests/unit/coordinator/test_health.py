"""A health check has little time. It runs once at a time, and again after it has ended."""

import threading

from coordinator.health import Check


def test_a_check_that_takes_too_long_is_down_and_is_not_begun_again_meanwhile() -> None:
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


def test_a_check_that_failed_is_begun_again() -> None:
    left = [ConnectionError]

    def fail_once() -> None:
        if left:
            raise left.pop()

    check = Check(fail_once)
    assert [check.status(), check.status(), check.status()] == ["DOWN", "UP", "UP"]
