"""How long transitions take, and when that is news."""

import threading

from pipelines.pace import QUIET_SECONDS, Pace

PAUSE = threading.Event()


def test_nothing_is_told_before_anything_ran() -> None:
    assert Pace().told() is None


def test_the_first_transition_is_news_and_tells_its_time() -> None:
    pace = Pace()
    with pace.measured() as is_news:
        PAUSE.wait(0.02)
    assert is_news()
    told = pace.told()
    assert told is not None
    assert told >= 0.02


def test_what_was_just_told_is_no_news() -> None:
    pace = Pace()
    with pace.measured():
        pass
    pace.told()
    with pace.measured() as is_news:
        PAUSE.wait(0.02)
    assert not is_news()
    PAUSE.wait(QUIET_SECONDS)
    with pace.measured() as is_news:
        PAUSE.wait(0.02)
    assert is_news()


def test_a_transition_that_goes_on_for_long_counts_before_it_ends() -> None:
    pace = Pace()
    with pace.measured():
        pass
    with pace.measured():
        PAUSE.wait(0.1)
        told = pace.told()
    assert told is not None
    assert told >= 0.1


def test_one_that_fails_counts_like_any_other() -> None:
    pace = Pace()
    try:
        with pace.measured():
            raise RuntimeError
    except RuntimeError:
        pass
    assert pace.told() is not None
