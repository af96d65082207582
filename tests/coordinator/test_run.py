"""`coordinator run`: the command of each process."""

from django.test import override_settings

from coordinator.run import command_of


@override_settings(WEB_HOST="0.0.0.0", WEB_PORT=8123, WEB_PROCESSES=5)
def test_the_web_process_listens_where_the_settings_say() -> None:
    command = command_of(["web"])
    assert command[:3] == ["granian", "--interface=wsgi", "coordinator.wsgi:application"]
    assert {"--host=0.0.0.0", "--port=8123", "--workers=5"} <= set(command)


def test_a_control_worker_serves_all_queues_unless_some_are_named() -> None:
    assert not [option for option in command_of(["control"]) if option.startswith(("--queues", "--concurrency"))]
    chosen = command_of(["control", "--queues=rest,webhooks", "--concurrency=32", "--name=slow"])
    assert {"--queues=rest,webhooks", "--concurrency=32", "--hostname=slow@%h"} <= set(chosen)
