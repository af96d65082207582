"""Parses request bodies as strict JSON: bounded, UTF-8, without repeated members and values PostgreSQL cannot store."""

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import BaseParser

from foundation.api.bodies import read_body
from foundation.errors import InvalidRequest
from wire.documents.json_reader import read_object
from wire.findings import DocumentError


class StrictJSONParser(BaseParser):
    """Returns the JSON object in the body. Raises `InvalidRequest` with all findings, or `PayloadTooLarge`."""

    media_type = "application/json"

    @property
    def limit(self) -> int:
        """The maximum size of a body, in bytes."""
        return int(settings.MAX_REQUEST_BYTES)

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        limit = self.limit
        tenant = (parser_context or {}).get("kwargs", {}).get("tenant", "")
        return strict_json(read_body(stream, limit, tenant), limit)


def strict_json(body: bytes, limit: int) -> dict[str, Any]:
    """Return the JSON object in `body`, which has at most `limit` bytes. Raises `InvalidRequest` with each finding."""
    try:
        return read_object(body, name="body", limit=limit)
    except DocumentError as error:
        raise InvalidRequest(str(error), errors=[finding.to_json() for finding in error.findings]) from None
