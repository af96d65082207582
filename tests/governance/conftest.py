from tests.executions.conftest import claim, execution, owner, ready, release, world

__all__ = ["claim", "execution", "owner", "ready", "release", "world"]
