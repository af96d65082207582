"""The names that authors gave to the steps of releases. A contract never changes, so a process reads each once."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from releases.models import Contract

REMEMBERED: Final = 1000
"""How many releases a process remembers."""


@lru_cache(REMEMBERED)
def step_names(release_id: int, contract_version: str) -> tuple[str, ...]:
    """Return the authored names of a verified release's steps; none if it has no contract. Unnamed steps are empty."""
    return tuple(name for name, _ in _steps(release_id, contract_version))


@lru_cache(REMEMBERED)
def calls_pipelines(release_id: int, contract_version: str) -> bool:
    """Return True if a step of the release calls another pipeline. No other release has executions with children."""
    return any(called for _, called in _steps(release_id, contract_version))


@lru_cache(REMEMBERED)
def _steps(release_id: int, contract_version: str) -> tuple[tuple[str, str], ...]:
    """Return the name of each step, and that of the pipeline that it calls."""
    contracts = Contract.objects.filter(releases=release_id, contract_version=contract_version).order_by()
    steps = contracts.values_list("document__steps", flat=True).first() or []
    return tuple((str(step.get("authoredName") or ""), str(step.get("callsPipeline") or "")) for step in steps)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a contract. `name` is empty if the contract does not name it. People count steps from 1."""

    index: int
    name: str

    @property
    def title(self) -> str:
        """Its name, or "step 2" if the contract does not name it."""
        return self.name or f"step {self.index + 1}"

    def __str__(self) -> str:
        return f"{self.name} (step {self.index + 1})" if self.name else self.title


def step_at(release_id: int, contract_version: str, index: int) -> Step:
    """Return the step of a release with this index. It is unnamed until the release is verified."""
    names = step_names(release_id, contract_version)
    return Step(index, names[index] if 0 <= index < len(names) else "")
