from tests.cases import cases
from tests.public_names import check, complaints


@cases(
    ("source", "expected"),
    [
        ("from executions.lifecycle.dispatch import _send", "imports the private name _send"),
        ("from unittest import mock", "uses mocks"),
        ("from foundation import wakeup\nmonkeypatch.setattr(wakeup, 'send', 1)", "replaces 'send' of ours"),
        ("monkeypatch.setattr('foundation.wakeup.send', print)", "replaces 'send' of ours"),
        ("from foundation import wakeup\nwakeup.send = print", "replaces 'send' of ours"),
        ("from foundation import wakeup\nmonkeypatch.setattr(wakeup, 'TIMEOUT', 0)", None),
    ],
)
def test_the_check_reports_private_names_and_replaced_code(source: str, expected: str | None) -> None:
    assert [complaint for _, complaint in complaints(source)] == ([expected] if expected else [])


def test_no_test_uses_private_names_or_replaces_code() -> None:
    assert list(check()) == []
