"""Takes the files of a release out of a multipart request: straight into the artifact store, hashed on the way."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import InMemoryUploadedFile, UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest

from foundation.api.body_budget import admit
from foundation.errors import PayloadTooLarge
from releases.artifacts.store import StagedBlob, artifact_store
from releases.models import Attachment
from releases.registration.registrar import UploadedArtifact
from releases.trust.evidence import MAX_ATTACHMENT_BYTES, MAX_ATTACHMENT_VALUES
from wire.documents.contract import MAX_CONTRACT_BYTES
from wire.documents.descriptor import MAX_DESCRIPTOR_BYTES
from wire.documents.json_reader import count_values

DESCRIPTOR_FIELD = "descriptor"
CONTRACT_FIELD = "contract"
ATTACHMENT_FIELD = "attachment"
_DOCUMENTS = {DESCRIPTOR_FIELD: MAX_DESCRIPTOR_BYTES, CONTRACT_FIELD: MAX_CONTRACT_BYTES}
"""Fields that hold one document, with the most bytes of each."""


class ReleaseUpload(FileUploadHandler):
    """The documents and the files of the field `attachment` are read into memory, within their bounds: of attachments
    all together as much as one of the largest. Every other file is an artifact and staged in the store.

    The documents are charged to the share of `owner` in the memory for large requests. Raises `PayloadTooLarge` as soon
    as a limit is exceeded, and `LargeRequestsBusy`.
    """

    # Django asks for the boundary once a piece, so larger pieces cost less; memory is a few of them.
    chunk_size = 1024 * 1024

    def __init__(self, owner: str) -> None:
        super().__init__()
        self._owner = owner
        self._attached_values = 0
        self.files: list[UploadedArtifact] = []
        self._documents: dict[str, bytearray] = {}
        self._attached: list[bytearray] = []
        self._staged: StagedBlob | None = None

    @property
    def descriptor(self) -> bytes | None:
        """The descriptor's bytes, or None when the request had none."""
        return self._document(DESCRIPTOR_FIELD)

    @property
    def contract(self) -> bytes | None:
        """The bytes of the contract beside the descriptor, or None when the request had none."""
        return self._document(CONTRACT_FIELD)

    def _document(self, field: str) -> bytes | None:
        return bytes(self._documents[field]) if field in self._documents else None

    @property
    def attached(self) -> list[bytes]:
        """What came to be attached to the release."""
        return [bytes(each) for each in self._attached]

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        if self.field_name in _DOCUMENTS:
            self._documents[self.field_name], self._staged = bytearray(), None
            return
        if self.field_name == ATTACHMENT_FIELD:
            if len(self._attached) == Attachment.MOST:
                raise PayloadTooLarge(f"At most {Attachment.MOST} files can be attached.", limit=Attachment.MOST)
            self._attached.append(bytearray())
            self._staged = None
            return
        self._staged = artifact_store().stage(settings.MAX_ARTIFACT_BYTES)
        self.files.append(UploadedArtifact(self.file_name or "", self._staged))

    def receive_data_chunk(self, raw_data: bytes, _start: int) -> None:
        if self._staged is not None:
            self._staged.write(raw_data)
        elif self.field_name == ATTACHMENT_FIELD:
            self._attached[-1] += raw_data
            if sum(map(len, self._attached)) > MAX_ATTACHMENT_BYTES:
                raise PayloadTooLarge(
                    f"Attachments may have at most {MAX_ATTACHMENT_BYTES} bytes together.", limit=MAX_ATTACHMENT_BYTES
                )
        elif self.field_name in self._documents:
            document, limit = self._documents[self.field_name], _DOCUMENTS[self.field_name]
            document += raw_data
            if len(document) > limit:
                raise PayloadTooLarge(f"A {self.field_name} may have at most {limit} bytes.", limit=limit)

    def file_complete(self, file_size: int) -> "UploadedFile[bytes]":
        """A stand-in for Django's form machinery: the bytes are where they belong already."""
        if self._staged is None:
            self._admit()
        return InMemoryUploadedFile(
            BytesIO(), self.field_name, self.file_name or "", self.content_type or "", file_size, self.charset
        )

    def _admit(self) -> None:
        """Reserve the memory to parse the document or attachment that has just arrived."""
        if self.field_name != ATTACHMENT_FIELD:
            admit(self._documents[self.field_name or ""], self._owner)
            return
        self._attached_values += count_values(bytes(self._attached[-1]))
        if self._attached_values > MAX_ATTACHMENT_VALUES:
            raise PayloadTooLarge(
                f"Attachments may have at most {MAX_ATTACHMENT_VALUES} values together.",
                limit=MAX_ATTACHMENT_VALUES,
            )
        admit(self._attached[-1], self._owner)


@contextmanager
def receiving(request: HttpRequest, owner: str) -> Iterator[ReleaseUpload]:
    """Receive `request`'s files; call it before anything reads the body, and let in nobody who may not register.

    Documents and attachments are charged to the share of `owner` in the memory for large requests. Artifacts that were
    not registered by the end are discarded.
    """
    upload = ReleaseUpload(owner)
    request.upload_handlers = [upload]
    try:
        yield upload
    finally:
        for file in upload.files:
            file.staged.discard()
