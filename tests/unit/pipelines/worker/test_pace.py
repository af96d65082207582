"""The pace of transitions, and when a change is reported early."""

import threading
from contextlib import suppress

from pipelines.worker.pace import QUIET_SECONDS, Pace

PAUSE = threading.Event()


def test_the_first_transition_is_notable_and_a_pace_that_was_just_reported_is_not() -> None:
    pace = Pace()
    assert Pace().report() is None
    with pace.measured(lambda: True) as is_news:
        pass
    assert not is_news(), "its lease was lost"
    with suppress(RuntimeError), pace.measured() as is_news:
        PAUSE.wait(0.02)
        raise RuntimeError
    assert is_news()
    assert (pace.report() or 0) >= 0.02
    pace = Pace()
    with pace.measured():
        pass
    pace.report()
    with pace.measured() as is_news:
        PAUSE.wait(0.02)
    assert not is_news()
    PAUSE.wait(QUIET_SECONDS)
    assert is_news()


def test_a_transition_that_others_overtake_does_not_count() -> None:
    """A long transition counts before it ends. A hanging one says nothing about the pace of others."""
    pace = Pace()

    def overtake() -> None:
        with pace.measured():
            pass

    with pace.measured():
        PAUSE.wait(0.3)
        assert (pace.report() or 0) >= 0.3
        other = threading.Thread(target=overtake)
        other.start()
        other.join()
        assert (pace.report() or 1) < 0.1


def test_a_transition_that_ends_without_its_lease_does_not_count() -> None:
    pace = Pace()
    lost = threading.Event()
    with pace.measured():
        pass
    with pace.measured(lost.is_set):
        PAUSE.wait(0.3)
        assert (pace.report() or 0) >= 0.3
        lost.set()
        assert (pace.report() or 1) < 0.1
    assert (pace.report() or 1) < 0.1
