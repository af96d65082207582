"""The fixtures of `tests/e2e`."""

from tests.e2e.conftest import host, own_broker, receiver, tenant, v1, v2

__all__ = ["host", "own_broker", "receiver", "tenant", "v1", "v2"]
