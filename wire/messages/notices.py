"""Notices to a worker whose heartbeat the coordinator refuses. Pure; coordinator and workers share this module."""

from typing import Any, Literal, TypeGuard, get_args

import pydantic_core
from pydantic import ConfigDict, Field, ValidationError

from wire.documents.json_reader import holds_more_values
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Identity, Wire, WorkerId
from wire.messages.sealing import MOST_BODY_VALUES

RefusalCode = Literal[
    "KEY_NOT_ACTIVE",
    "SIGNATURE_INVALID",
    "TENANT_UNKNOWN",
    "TIMESTAMP_REFUSED",
    "ENVELOPE_MALFORMED",
    "WORKER_LIMIT_REACHED",
]


class Refusal(Wire, extra="forbid"):
    """Notifies a worker that its heartbeat with this `nonce` was refused. Unsigned, as the sides may share no key."""

    kind: Literal["refusal"] = "refusal"
    nonce: str = Field(min_length=1, max_length=100)
    code: RefusalCode


def refusable(code: str) -> TypeGuard[RefusalCode]:
    """Return True if `code` is a code of refusals."""
    return code in get_args(RefusalCode)


def refusal_of(message: Any) -> Refusal | None:
    """Return the refusal in `message`, which is unsigned; None if `message` is not a refusal."""
    try:
        return Refusal.model_validate(message)
    except ValidationError:
        return None


LONGEST_BODY = 1024**2
"""The number of characters of an unverified body that are read for the name of the worker."""


class Sender(Wire):
    """The sender that a message names, unverified. Used to log a refusal and to send a notice.

    `worker_id` is None if the body is encrypted.
    """

    model_config = ConfigDict(extra="ignore")

    tenant_id: Identity
    pipeline_id: Identity
    contract_version: Identity
    release_version: Identity
    nonce: str = Field(min_length=1, max_length=100)
    worker_id: WorkerId | None

    @property
    def identity(self) -> ReleaseIdentity:
        return ReleaseIdentity(self.tenant_id, self.pipeline_id, self.contract_version, self.release_version)


def sender_of(message: Any) -> Sender | None:
    """Return the sender that `message` names; None if it names none. Does not check the signature."""
    try:
        sealed = message["seals"][0]
        worker_id = None if sealed["encrypted"] else _worker_id(sealed["body"])
        return Sender.model_validate({**message, "workerId": worker_id})
    except (ValueError, TypeError, KeyError, IndexError):
        return None


def _worker_id(body: Any) -> Any:
    """Return the worker that an unverified body names. Raises ValueError, TypeError or KeyError."""
    if (
        not isinstance(body, str)
        or len(body) > LONGEST_BODY
        or holds_more_values(body.encode(), MOST_BODY_VALUES["heartbeat"])
    ):
        raise ValueError("The body is not a text, or too large to be read unverified.")
    return pydantic_core.from_json(body)["workerId"]
