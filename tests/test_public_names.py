"""The check that keeps private names and replaced code out of the tests."""

import pytest

from tests.public_names import check, complaints


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from executions.lifecycle.dispatch import _send", "imports the private name _send"),
        ("from unittest import mock", "uses mocks"),
        (
            "from executions.state_machine import moves\nmonkeypatch.setattr(moves, 'claim', print)",
            "replaces 'claim' of ours",
        ),
        (
            "import executions.state_machine.moves\nmonkeypatch.delattr(executions.state_machine.moves, 'claim')",
            "replaces 'claim' of ours",
        ),
        ("monkeypatch.setattr('executions.state_machine.moves.claim', print)", "replaces 'claim' of ours"),
        ("from foundation.wakeups import wakeup\nmonkeypatch.setattr(wakeup, '_here', {})", "replaces '_here' of ours"),
        ("from foundation.wakeups import wakeup\nwakeup.send = print", "replaces 'send' of ours"),
        ("from executions.models import Worker\nsetattr(Worker.objects, 'get', print)", None),
        ("from foundation.wakeups import wakeup\nmonkeypatch.setattr(wakeup, 'TIMEOUT', 0)", None),
        ("import sys\nmonkeypatch.setattr(sys, 'dont_write_bytecode', True)", None),
        ("from executions.state_machine.moves import __doc__", None),
    ],
)
def test_the_check_reports_private_names_and_replaced_code(source: str, expected: str | None) -> None:
    assert [complaint for _, complaint in complaints(source)] == ([expected] if expected else [])


def test_no_test_uses_private_names_or_replaces_code() -> None:
    assert list(check()) == []
