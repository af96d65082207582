"""Compares two contracts step by step, for the activation page. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from wire.documents.contract import Contract, Step


@dataclass(frozen=True)
class Change:
    """A difference in one step. `kind` is added, removed, changed or moved. `details` is a description."""

    step: str
    kind: str
    details: str


COMPARED_FIELDS = (
    ("kind", "kind"),
    ("cardinality", "cardinality"),
    ("input_type_id", "input"),
    ("output_type_id", "output"),
    ("await_transport", "awaits over"),
)


def changes(before: Contract, after: Contract) -> list[Change]:
    """Return the steps that were added, removed, changed or moved. A step is identified by its authored name."""
    old, new = _by_name(before.steps), _by_name(after.steps)
    found = [Change(name, "removed", _shape(step)) for name, step in old.items() if name not in new]
    kept_before = [name for name in old if name in new]
    kept_after = [name for name in new if name in old]
    for name, step in new.items():
        if name not in old:
            found.append(Change(name, "added", _shape(step)))
        elif details := _differences(old[name], step):
            found.append(Change(name, "changed", details))
        elif kept_before.index(name) != kept_after.index(name):
            found.append(
                Change(name, "moved", f"from place {kept_before.index(name) + 1} to {kept_after.index(name) + 1}")
            )
    return found


def _by_name(steps: Sequence[Step]) -> dict[str, Step]:
    named: dict[str, Step] = {}
    for place, step in enumerate(steps):
        name = step.authored_name or f"step {place}"
        named[name if name not in named else f"{name} ({place})"] = step
    return named


def _shape(step: Step) -> str:
    types = f"{step.input_type_id or '?'} → {step.output_type_id or '?'}"
    return f"{types}, {step.cardinality}" if step.cardinality else types


def _differences(old: Step, new: Step) -> str:
    pairs = ((label, getattr(old, field), getattr(new, field)) for field, label in COMPARED_FIELDS)
    return "; ".join(f"{label} {was or 'none'} → {now or 'none'}" for label, was, now in pairs if was != now)
