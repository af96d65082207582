"""What a step's context offers to the code of the step, besides what it says about the transition."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pipelines.step_reports import Reporter, Reporting, reports_of

if TYPE_CHECKING:
    from pipelines.authoring.step_settings import StepSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTools:
    """Reports progress, leaves details for the next attempt, and has the config and the secrets of the pipeline.

    ``reporting`` gets the reports. ``heartbeats`` is the JSON text of what an earlier attempt left: the index of its
    step, that of its item or null, and the details. ``settings`` is None if the pipeline declares none.
    ``call_index`` counts the calls of the branches of all items; it is None for a step without branches.
    """

    step_index: int = -1
    item_index: int | None = None
    branch: str = ""
    call_index: int | None = field(default=None, repr=False, compare=False)
    reporting: Reporting = field(default_factory=Reporter, repr=False, compare=False)
    heartbeats: str = field(default="", repr=False, compare=False)
    settings: StepSettings | None = field(default=None, repr=False, compare=False)

    def progress(self, done: int, total: int | None = None, message: str = "") -> None:
        """Report that ``done`` of ``total`` is done, in any unit. The coordinator shows it within about a second.

        It may be called as often as the step likes: only the newest report is sent. ``message`` is truncated to 200
        characters. Raises ``TypeError`` or ``ValueError`` if ``done`` or ``total`` is no count.
        """
        reports_of(self.reporting).set_progress(done, total, message)

    def heartbeat(self, details: Any) -> None:
        """Leave details for the next attempt of this step and item, which reads them as ``last_heartbeat``.

        They are JSON of at most 1,000 bytes, and sent within about a second. If the worker dies before that, the next
        attempt reads those that were sent before. Raises ``TypeError`` or ``ValueError`` for other details.
        """
        reports_of(self.reporting).set_details(self.step_index, self._index, details)

    @property
    def last_heartbeat(self) -> Any:
        """The details that an earlier attempt of this step and item left last; None if there are none."""
        if not self.heartbeats:
            return None
        step, item, details = json.loads(self.heartbeats)
        return details if (step, item) == (self.step_index, self._index) else None

    @property
    def _index(self) -> int | None:
        """What tells the calls of a step apart: its item, or its branch and item."""
        return self.item_index if self.call_index is None else self.call_index

    @property
    def config(self) -> Mapping[str, Any]:
        """The values of the pipeline's ``config``, by name, each of its declared type."""
        return MappingProxyType({} if self.settings is None else dict(self.settings.config))

    def secret(self, name: str) -> str:
        """Return one of the pipeline's ``secrets``. Raises ``KeyError`` for a name that is not declared."""
        secrets = {} if self.settings is None else self.settings.secrets
        if name not in secrets:
            raise KeyError(f"{name} is not declared; add secrets=[{name!r}] to the pipeline")
        return secrets[name]
