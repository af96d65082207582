"""Equal acts are let through once in a while, and counted in between."""

import time

from tenancy.audit.repeats import Repeats


def test_a_key_is_let_through_once_in_the_time_and_then_with_the_number_of_those_left_out() -> None:
    repeats = Repeats(seconds=0.2, most=10)
    assert [repeats.take("a") for _ in range(4)] == [0, None, None, None]
    assert repeats.take("b") == 0
    time.sleep(0.25)
    assert [repeats.take("a"), repeats.take("a"), repeats.take("b")] == [3, None, 0]
