"""The migrations of executions, followed by those that a next version might add."""

from executions import migrations

__path__ = [*migrations.__path__, *__path__]
