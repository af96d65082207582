"""`coordinator run`: the command of each process."""

import subprocess

import pytest
from django.test import override_settings

from coordinator.run import PROCESSES, command_of
from embedded.product import BIN
from tests.cases import cases


@override_settings(WEB_HOST="0.0.0.0", WEB_PORT=8123, WEB_PROCESSES=5)
def test_the_web_process_listens_where_the_settings_say() -> None:
    command = command_of(["web"])
    assert command[:3] == ["granian", "--interface=wsgi", "coordinator.wsgi:application"]
    assert {"--host=0.0.0.0", "--port=8123", "--workers=5"} <= set(command)


@override_settings(WEB_HOST="0.0.0.0", WEB_PORT=8123, WEB_PROCESSES=5)
def test_an_option_takes_precedence_over_its_setting() -> None:
    command = command_of(["web", "--host=127.0.0.1", "--port=9000", "--processes=1"])
    assert {"--host=127.0.0.1", "--port=9000", "--workers=1"} <= set(command)


def test_a_control_worker_serves_all_queues_unless_some_are_named() -> None:
    assert not [option for option in command_of(["control"]) if option.startswith(("--queues", "--concurrency"))]
    chosen = command_of(["control", "--queues=rest,webhooks", "--concurrency=32", "--name=slow"])
    assert {"--queues=rest,webhooks", "--concurrency=32", "--hostname=slow@%h"} <= set(chosen)


@override_settings(LOG_LEVEL="WARNING")
def test_celery_logs_at_the_level_of_the_settings() -> None:
    assert "--loglevel=WARNING" in command_of(["control"])
    assert "--loglevel=WARNING" in command_of(["clock"])


def test_further_options_are_passed_on() -> None:
    assert command_of(["web", "--ssl-certificate=/tls.crt"])[-1] == "--ssl-certificate=/tls.crt"


@cases("arguments", [[], ["unknown"], ["web", "--port=none"]])
def test_invalid_arguments_end_with_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_of(arguments)
    assert ended.value.code == 2


def test_the_help_names_every_process() -> None:
    done = subprocess.run([BIN / "coordinator", "run", "--help"], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in PROCESSES)
