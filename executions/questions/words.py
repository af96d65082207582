"""Names of steps, members and actors, as people read them."""

import re

_NAME = re.compile(r"[^\W_][\w -]*")
_STEP = re.compile(r"Process(?P<name>[A-Z0-9].*)Service")
_BOUNDARY = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[A-Z])|[\s_-]+")


def title_of(step_id: str) -> str:
    """Return the author's name of a step: "Approve claim" for `ProcessApproveClaimService` (wire protocol A.1.2)."""
    built = _STEP.fullmatch(step_id)
    return readable_name(built["name"] if built else step_id)


def readable_name(name: str) -> str:
    """Return a name in words: "Claim id" for `claimId` or `claim_id`. Abbreviations and other texts stay."""
    if not _NAME.fullmatch(name):
        return name
    first, *rest = [word for word in _BOUNDARY.split(name) if word]
    return " ".join([first[:1].upper() + first[1:], *(_lower(word) for word in rest)])


def person(actor: str) -> str:
    """Return the name of an actor without its kind, if it is a user. Other actors keep their kind."""
    return actor.removeprefix("user:")


def _lower(word: str) -> str:
    return word if len(word) > 1 and word.isupper() else word.lower()
