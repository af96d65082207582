"""The pace of transitions, and when a change is reported early."""

import threading

from pipelines.worker.pace import QUIET_SECONDS, Pace

PAUSE = threading.Event()


def test_a_notable_change_is_reported_early_but_not_often() -> None:
    pace = Pace()
    with pace.measured(lambda: True) as is_news:
        pass
    assert not is_news(), "its lease was lost"
    with pace.measured():
        pass
    pace.report()
    with pace.measured() as is_news:
        PAUSE.wait(0.02)
    assert not is_news()
    PAUSE.wait(QUIET_SECONDS)
    assert is_news()


def test_a_transition_that_lost_its_lease_does_not_count() -> None:
    pace, lost = Pace(), threading.Event()
    with pace.measured():
        pass
    with pace.measured(lost.is_set):
        PAUSE.wait(0.2)
        assert (pace.report() or 0) >= 0.2
        lost.set()
        assert (pace.report() or 1) < 0.02
    assert (pace.report() or 1) < 0.02
