"""Compares what a step runs or calls: its functions, its condition, and the pipeline that it calls. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wire.comparison.differences import Area, Difference, Impact, changed
from wire.documents.branching import Branching
from wire.documents.contract import Step

_CLASS: Final = "Clients and parked work do not depend on the class that runs a step."
_BRANCHES: Final = "Clients and parked work do not depend on the functions of a step, but on its types."
_CONDITION: Final = "It decides whether the await asks. Open questions stay, and the types of values are compared."
_PIPELINE: Final = (
    "Calls that wait for a result stay on the older release, because the newer one calls another pipeline."
)
_RELEASE: Final = "The contract of the release that is called is not known, so its input and result are not compared."


def call_differences(path: str, old: Step, new: Step) -> Iterator[Difference]:
    """Yield the differences of what runs, for the step at `path`."""
    for member, was, now, reason, impact in (
        ("runtimeClass", old.runtime_class, new.runtime_class, _CLASS, Impact.COMPATIBLE),
        ("clientClass", old.client_class, new.client_class, _CLASS, Impact.COMPATIBLE),
        ("branching", _functions(old.branching), _functions(new.branching), _BRANCHES, Impact.COMPATIBLE),
        ("condition", old.condition, new.condition, _CONDITION, Impact.COMPATIBLE),
        ("callsPipeline", old.calls_pipeline, new.calls_pipeline, _PIPELINE, Impact.BREAKING_FOR_PARKED_WORK),
        ("callsRelease", old.calls_release, new.calls_release, _RELEASE, Impact.UNKNOWN),
    ):
        if (was or "") != (now or ""):
            yield changed(Area.STEP, f"{path}.{member}", (was or "", now or ""), reason, impact)


def _functions(branching: Branching | None) -> str:
    """Return the branches in words, such as `choose by m:route: card (m:pay, Paid), bill (m:bill, Paid)`."""
    if branching is None:
        return ""
    by = f" by {branching.route}" if branching.route else ""
    names = (f"{each.name} ({each.runtime_class or '-'}, {each.output_type_id or '-'})" for each in branching.branches)
    return f"{branching.kind}{by}: {', '.join(names)}"
