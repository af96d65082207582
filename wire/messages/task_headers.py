"""What reads a message between this product's processes. Only processes that receive messages load it."""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from wire.messages.celery_messages import TOLERANCE

__all__ = ["Header", "ValidationError", "from_json"]


def _is_instant(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("an instant must have a time zone")
    return text


_Instant = Annotated[str, Field(max_length=40), AfterValidator(_is_instant)]


class Header(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    tolerance: ClassVar[float] = TOLERANCE.total_seconds()
    """How many seconds the sender's clock may be ahead."""

    task: str = Field(max_length=100)
    eta: _Instant | None
    expires: _Instant | None
    retries: int = Field(ge=0, le=10_000)
    sent_at: float = Field(alias="sentAt", allow_inf_nan=False)

    @property
    def is_plain(self) -> bool:
        """True for a first and immediate run: no ETA, no expiry, no retries."""
        return self.eta is None and self.expires is None and self.retries == 0
