"""What an activation request is made on, and what of it has moved since."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from releases.models import Activation, ActivationRequest, Pipeline
from releases.models.policy import MEMBERS

ACTIVE = "activeRelease"


@dataclass(frozen=True, slots=True)
class Moved:
    """A member of the policy, or ACTIVE, that has another value than the one that the request is made on."""

    member: str
    before: Any
    after: Any

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def policy_of(pipeline: Pipeline) -> dict[str, Any]:
    """Return all members of the policy with their values."""
    return {member.name: getattr(pipeline, member.column) for member in MEMBERS}


def moved(request: ActivationRequest, pipeline: Pipeline) -> list[Moved]:
    """Return what has moved since the current round of the request began.

    Members that the policy got in an upgrade of the coordinator are not compared.
    """
    policy = policy_of(pipeline)
    found = [
        Moved(name, value, policy[name])
        for name, value in request.policy.items()
        if name in policy and policy[name] != value
    ]
    if request.base_id != pipeline.activation_id:
        found.append(Moved(ACTIVE, _named(request.base), _named(pipeline.activation)))
    return found


def described(changes: Sequence[Moved]) -> str:
    """Return what has moved in one sentence."""
    found = [f"{each.member} was {_text(each.before)} and is now {_text(each.after)}" for each in changes]
    return f"{'; '.join(found) or 'Nothing has moved'}."


def _named(activation: Activation | None) -> str | None:
    return f"{activation.release.release_version} (activation {activation.sequence})" if activation else None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)
