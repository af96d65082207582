"""The check that keeps private names and replaced code out of the tests."""

import pytest

from tests.public_names import check, complaints


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from executions.dispatch import _send", "imports the private name _send"),
        ("from unittest import mock", "uses mocks"),
        ("from executions import moves\nmonkeypatch.setattr(moves, 'claim', print)", "replaces 'claim' of ours"),
        ("import executions.moves\nmonkeypatch.delattr(executions.moves, 'claim')", "replaces 'claim' of ours"),
        ("monkeypatch.setattr('executions.moves.claim', print)", "replaces 'claim' of ours"),
        ("from coordinator import bell\nmonkeypatch.setattr(bell, '_here', {})", "replaces '_here' of ours"),
        ("from coordinator import bell\nbell.ring = print", "replaces 'ring' of ours"),
        ("from executions.models import Worker\nsetattr(Worker.objects, 'get', print)", None),
        ("from coordinator import bell\nmonkeypatch.setattr(bell, 'PATIENCE', 0)", None),
        ("import sys\nmonkeypatch.setattr(sys, 'dont_write_bytecode', True)", None),
        ("from executions.moves import __doc__", None),
    ],
)
def test_what_the_check_finds(source: str, expected: str | None) -> None:
    assert [complaint for _, complaint in complaints(source)] == ([expected] if expected else [])


def test_no_test_uses_private_names_or_replaces_code() -> None:
    assert list(check()) == []
