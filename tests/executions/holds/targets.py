from executions.holds import holds
from executions.models import Execution

TARGETS = ("execution", "release", "pipeline")


def target(kind: str, of: Execution) -> holds.Target:
    targets: dict[str, holds.Target] = {"execution": of, "release": of.release, "pipeline": of.release.pipeline}
    return targets[kind]
