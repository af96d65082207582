"""Commands start in an environment with no more settings than they use."""

from coordinator.command_settings import fill_in


def test_values_that_are_set_are_kept() -> None:
    environment = {"SECRET_KEY": "k" * 40, "WORKER_SECRET_FILE": "/run/secrets/worker", "REDIS_URL": ""}
    fill_in(["migrate"], environment)
    assert environment == {**environment, "SECRET_KEY": "k" * 40, "REDIS_URL": "redis://127.0.0.1:1/0"}
    assert environment.keys() == {"SECRET_KEY", "WORKER_SECRET_FILE", "REDIS_URL"}


def test_each_run_gets_other_secrets() -> None:
    first: dict[str, str] = {}
    second: dict[str, str] = {}
    fill_in([], first)
    fill_in([], second)
    assert first["SECRET_KEY"] != second["SECRET_KEY"]
    assert len({first["SECRET_KEY"], first["WORKER_SECRET"]}) == 2
