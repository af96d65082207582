"""Receives the files of a multipart request. Artifacts are hashed and staged in the artifact store as they arrive.

Both the REST API and the admin pages use it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import InMemoryUploadedFile, UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest

from foundation.api.bodies import admit
from foundation.errors import InvalidRequest, PayloadTooLarge
from releases.artifacts.store import StagedBlob, artifact_store
from releases.models import Attachment
from releases.registration.registrar import UploadedArtifact
from releases.trust.attachments import MAX_ATTACHMENT_BYTES, MAX_ATTACHMENT_VALUES
from wire.documents.contract import MAX_CONTRACT_BYTES
from wire.documents.descriptor import MAX_DESCRIPTOR_BYTES
from wire.documents.json_reader import count_values
from wire.identity import SEGMENT_RULE, is_segment

DESCRIPTOR_FIELD = "descriptor"
CONTRACT_FIELD = "contract"
ATTACHMENT_FIELD = "attachment"
_LIMITS = {
    DESCRIPTOR_FIELD: MAX_DESCRIPTOR_BYTES,
    CONTRACT_FIELD: MAX_CONTRACT_BYTES,
    ATTACHMENT_FIELD: MAX_ATTACHMENT_BYTES,
}
"""The fields that are kept in memory, with the maximum size in bytes: of a document, or of all attachments together."""


class ReleaseUpload(FileUploadHandler):
    """A Django upload handler that collects the files of a release.

    The documents and the files of the field `attachment` are kept in memory. Each document has a maximum size. The
    attachments together may have the size and the number of values of one attachment. Every other file is an artifact
    and is staged in the artifact store.

    `owner` is charged for the memory of documents and attachments (`foundation.api.bodies`). Raises
    `PayloadTooLarge` as soon as a limit is exceeded, and `LargeRequestsBusy`.
    """

    # Django searches each chunk for the boundary, so larger chunks are faster. A request holds a few in memory.
    chunk_size = 1024 * 1024

    def __init__(self, owner: str) -> None:
        super().__init__()
        self._owner = owner
        self._attached_values = 0
        self.files: list[UploadedArtifact] = []
        self._kept: dict[str, list[bytearray]] = {}
        self._staged: StagedBlob | None = None

    @property
    def descriptor(self) -> bytes | None:
        """The bytes of the descriptor. None if the request has no descriptor."""
        return self._document(DESCRIPTOR_FIELD)

    @property
    def contract(self) -> bytes | None:
        """The bytes of the contract document. None if the request has no contract document."""
        return self._document(CONTRACT_FIELD)

    def require_descriptor(self) -> bytes:
        """Return the bytes of the descriptor. Raises `InvalidRequest` if the request has no descriptor."""
        descriptor = self.descriptor
        if descriptor is None:
            missing = {"field": DESCRIPTOR_FIELD, "code": "REQUIRED", "message": "a file of this name is required"}
            raise InvalidRequest("The request has no file named 'descriptor'.", errors=[missing])
        return descriptor

    def require_release_version(self, form: Any) -> str:
        """Return the release version of a request that has a release version, attachments and nothing else.

        Raises `InvalidRequest` for any other request.
        """
        if self.files or self.descriptor is not None or set(form) - {"releaseVersion", ATTACHMENT_FIELD}:
            raise InvalidRequest("The request may only have 'releaseVersion' and files named 'attachment'.")
        version = form.get("releaseVersion")
        if not isinstance(version, str) or not version or not self.attached:
            missing = ATTACHMENT_FIELD if self.attached == [] else "releaseVersion"
            required = {"field": missing, "code": "REQUIRED", "message": "is required"}
            raise InvalidRequest("The request needs 'releaseVersion' and a file 'attachment'.", errors=[required])
        if not is_segment(version):
            malformed = {"field": "releaseVersion", "code": "NOT_IDENTIFIER", "message": SEGMENT_RULE}
            raise InvalidRequest(f"releaseVersion: {SEGMENT_RULE}", errors=[malformed])
        return version

    def _document(self, field: str) -> bytes | None:
        return bytes(self._kept[field][-1]) if field in self._kept else None

    @property
    def attached(self) -> list[bytes]:
        """The bytes of each attachment."""
        return [bytes(attachment) for attachment in self._kept.get(ATTACHMENT_FIELD, ())]

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        field = self.field_name or ""
        if field not in _LIMITS:
            self._staged = artifact_store().stage(settings.MAX_ARTIFACT_BYTES)
            self.files.append(UploadedArtifact(self.file_name or "", self._staged))
            return
        self._staged = None
        earlier = self._kept.get(field, []) if field == ATTACHMENT_FIELD else []
        most = Attachment.MAX_PER_RELEASE
        if len(earlier) == most:
            raise PayloadTooLarge(f"At most {most} files can be attached.", limit=most)
        self._kept[field] = [*earlier, bytearray()]

    def receive_data_chunk(self, raw_data: bytes, _start: int) -> None:
        if self._staged is not None:
            self._staged.write(raw_data)
            return
        field = self.field_name or ""
        kept, limit = self._kept[field], _LIMITS[field]
        kept[-1] += raw_data
        if sum(map(len, kept)) > limit:
            what = f"A {field} may have at most {limit} bytes"
            if field == ATTACHMENT_FIELD:
                what = f"Attachments may have at most {limit} bytes together"
            raise PayloadTooLarge(f"{what}.", limit=limit)

    def file_complete(self, file_size: int) -> "UploadedFile[bytes]":
        """Return an empty file for Django's form parser. The bytes are already in memory or in the artifact store."""
        if self._staged is None:
            self._admit()
        return InMemoryUploadedFile(
            BytesIO(), self.field_name, self.file_name or "", self.content_type or "", file_size, self.charset
        )

    def _admit(self) -> None:
        """Reserve the memory that parsing the last document or attachment needs."""
        field = self.field_name or ""
        last = self._kept[field][-1]
        if field == ATTACHMENT_FIELD:
            self._attached_values += count_values(bytes(last))
            if self._attached_values > MAX_ATTACHMENT_VALUES:
                raise PayloadTooLarge(
                    f"Attachments may have at most {MAX_ATTACHMENT_VALUES} values together.",
                    limit=MAX_ATTACHMENT_VALUES,
                )
        admit(last, self._owner)


@contextmanager
def receive(request: HttpRequest, owner: str) -> Iterator[ReleaseUpload]:
    """Yield the files of `request`, which arrive when the block reads the body.

    Nothing may read the body earlier. The caller must check first that the user may register releases. Artifacts that
    are not registered by the end of the block are discarded. `owner`: see `ReleaseUpload`.
    """
    upload = ReleaseUpload(owner)
    request.upload_handlers = [upload]
    try:
        yield upload
    finally:
        for file in upload.files:
            file.staged.discard()
