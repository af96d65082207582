"""Computes from granian's command line how many connections its workers may open."""

from coordinator.connection_budget import granian_workers
from tests.cases import cases


@cases(
    ("arguments", "environment", "expected"),
    [
        ("granian --workers=2 --blocking-threads=16", {}, (2, 16)),
        ("/usr/bin/granian --workers 3 app:application --blocking-threads 8", {}, (3, 8)),
        ("granian", {"GRANIAN_WORKERS": "4", "GRANIAN_BLOCKING_THREADS": "5"}, (4, 5)),
        ("granian --workers=2", {"GRANIAN_WORKERS": "4", "GRANIAN_BLOCKING_THREADS": "5"}, (2, 5)),
        ("granian --backpressure=100", {}, (1, 50)),
        ("gunicorn --workers=2", {}, None),
    ],
)
def test_the_processes_and_threads_of_a_command_line(
    arguments: str, environment: dict[str, str], expected: tuple[int, int] | None
) -> None:
    assert granian_workers(arguments.split(), environment) == expected
