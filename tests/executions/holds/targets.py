from executions.holds import holds
from executions.models import Execution

TARGETS = ("execution", "release", "pipeline")


def target(kind: str, execution: Execution) -> holds.Target:
    release = execution.release
    targets: dict[str, holds.Target] = {"execution": execution, "release": release, "pipeline": release.pipeline}
    return targets[kind]
