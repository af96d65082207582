"""Whether a main loop counts as alive."""

from foundation.telemetry.liveness import LONGEST_SILENCE, Liveness


def test_a_loop_is_alive_while_it_beats() -> None:
    now = [0.0]
    liveness = Liveness(lambda: now[0])
    assert liveness.is_alive()
    now[0] = LONGEST_SILENCE
    assert liveness.is_alive()
    now[0] = LONGEST_SILENCE + 1
    assert (liveness.is_alive(), liveness.silent_seconds) == (False, LONGEST_SILENCE + 1)
    liveness.beat()
    assert liveness.is_alive()


def test_a_loop_that_waits_for_another_server_is_alive() -> None:
    now = [0.0]
    liveness = Liveness(lambda: now[0])
    with liveness.waiting():
        now[0] = 10 * LONGEST_SILENCE
        assert (liveness.is_alive(), liveness.silent_seconds) == (True, 0)
    assert liveness.silent_seconds == 0, "the silence counts from the end of the wait"
    now[0] += LONGEST_SILENCE + 1
    assert not liveness.is_alive()
