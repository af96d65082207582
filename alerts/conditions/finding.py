"""What a condition gets and returns."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import Q

from alerts.models import AlertRule

MOST_FOUND: Final = 20
"""The limit of findings of one rule. At the limit, others may exist, so no alert of the rule is resolved."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a rule applies to. `subject` identifies it. `path` is its page in the admin.

    The texts contain names, codes and numbers, and no payloads.
    """

    subject: str
    title: str
    path: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """A rule, and the subjects of its firing alerts."""

    rule: AlertRule
    firing: Collection[str] = field(default_factory=frozenset)

    def of_pipeline(self, lookup: str) -> Q:
        """Return the condition for rows of the rule's pipeline, or of any. `lookup` leads to the pipeline's key."""
        return Q() if self.rule.pipeline_id is None else Q(**{lookup: self.rule.pipeline_id})

    def names(self, pipeline_id: str) -> bool:
        """Return True if the rule is for the pipeline with this name."""
        return self.rule.pipeline is None or self.rule.pipeline.pipeline_id == pipeline_id

    def parameters(self, **more: Any) -> dict[str, Any]:
        """Return the parameters that the SQL statements of conditions share."""
        return {"tenant": self.rule.tenant_id, "pipeline": self.rule.pipeline_id, "most": MOST_FOUND, **more}
