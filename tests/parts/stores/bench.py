"""The stores under test of this part, with access to their storage that bypasses them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from releases.artifacts.store.objects import ObjectArtifactStore
from tests.parts.stores.azure import AzurePlace
from tests.parts.stores.google import GooglePlace
from tests.releases.artifacts.store.bench import LABEL, RemoteBench


class GoogleBench(RemoteBench):
    place: GooglePlace

    def __init__(self, place: GooglePlace, folder: Path) -> None:
        self.place, self.folder, self.store = place, folder, place.store(folder)
        self.bucket: Any = place.client()

    def elsewhere(self, folder: Path) -> ObjectArtifactStore:
        return replace(self.place, bucket="no-such-bucket").store(folder)

    def label(self, digest: str, data: bytes) -> None:
        blob = self.bucket.blob(self.store.key(digest))
        blob.metadata = LABEL
        blob.upload_from_string(data)

    def labelled(self, digest: str) -> bool:
        return bool(self.bucket.get_blob(self.store.key(digest)).metadata == LABEL)

    def overwrite(self, digest: str, data: bytes) -> None:
        self.bucket.blob(self.store.key(digest)).upload_from_string(data)

    def read(self, digest: str) -> bytes:
        data: bytes = self.bucket.blob(self.store.key(digest)).download_as_bytes()
        return data

    def everything(self) -> set[str]:
        prefix = f"{self.place.prefix}/"
        return {blob.name.removeprefix(prefix) for blob in self.bucket.list_blobs(prefix=prefix)}

    def break_down(self) -> None:
        self.store = GooglePlace("http://127.0.0.1:1", timeout_seconds=0.5).store(self.folder)


class AzureBench(RemoteBench):
    place: AzurePlace

    def __init__(self, place: AzurePlace, folder: Path) -> None:
        self.place, self.folder, self.store = place, folder, place.store(folder)
        self.container = place.client()

    def elsewhere(self, folder: Path) -> ObjectArtifactStore:
        return replace(self.place, container="no-such-bucket").store(folder)

    def label(self, digest: str, data: bytes) -> None:
        self.container.upload_blob(self.store.key(digest), data, metadata=LABEL)

    def labelled(self, digest: str) -> bool:
        return self.container.get_blob_client(self.store.key(digest)).get_blob_properties().metadata == LABEL

    def overwrite(self, digest: str, data: bytes) -> None:
        self.container.upload_blob(self.store.key(digest), data, overwrite=True)

    def read(self, digest: str) -> bytes:
        return self.container.download_blob(self.store.key(digest)).readall()

    def everything(self) -> set[str]:
        prefix = f"{self.place.prefix}/"
        return {name.removeprefix(prefix) for name in self.container.list_blob_names(name_starts_with=prefix)}

    def break_down(self) -> None:
        self.store = AzurePlace(1, "a2V5").store(self.folder)
