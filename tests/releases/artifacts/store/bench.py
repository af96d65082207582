from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from releases.artifacts.local_store import MARKER, LocalArtifactStore
from releases.artifacts.object_store import ObjectArtifactStore
from releases.artifacts.store import ArtifactStore
from tests.s3 import S3Place, client_of

LABEL = {"by": "another"}


class Bench(ABC):
    store: ArtifactStore

    @abstractmethod
    def overwrite(self, digest: str, data: bytes) -> None:
        """Put other bytes in the place of a blob, which no method of the store does."""

    @abstractmethod
    def read(self, digest: str) -> bytes: ...

    @abstractmethod
    def everything(self) -> set[str]:
        """Return the names of all files or objects outside of staging."""

    @abstractmethod
    def break_down(self) -> None:
        """Make every further use of the store fail, although its blobs are intact."""

    def keep(self, data: bytes) -> str:
        staged = self.store.stage(limit=10**9)
        staged.write(data)
        return staged.keep()


@dataclass
class LocalBench(Bench):
    store: LocalArtifactStore

    def overwrite(self, digest: str, data: bytes) -> None:
        file = self.store.file(digest)
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists():
            file.chmod(0o644)
        file.write_bytes(data)

    def read(self, digest: str) -> bytes:
        return self.store.file(digest).read_bytes()

    def set_aside(self, digest: str) -> None:
        """Move right bytes to quarantine, which no method of the store does."""
        file, folder = self.store.file(digest), self.store.root / "quarantine"
        folder.mkdir(exist_ok=True)
        file.rename(folder / f"{file.name}-then")

    def everything(self) -> set[str]:
        root = self.store.root
        files = {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
        return {str(path) for path in files if path.parts[0] not in {"staging", MARKER}}

    def break_down(self) -> None:
        """A file where the folder of all blobs should be: even root cannot read behind it."""
        folder = self.store.root / "sha256"
        if folder.exists():
            folder.rename(self.store.root / "out-of-reach")
        folder.write_bytes(b"")


class RemoteBench(Bench):
    store: ObjectArtifactStore
    place: Any
    folder: Path

    @abstractmethod
    def elsewhere(self, folder: Path) -> ObjectArtifactStore:
        """Return a store in a bucket that does not exist."""

    @abstractmethod
    def label(self, digest: str, data: bytes) -> None:
        """Store `data` as the blob, with the metadata LABEL."""

    @abstractmethod
    def labelled(self, digest: str) -> bool:
        """True if the blob has the metadata LABEL."""


class S3Bench(RemoteBench):
    place: S3Place

    def __init__(self, place: S3Place, folder: Path) -> None:
        self.place, self.folder, self.store = place, folder, place.store(folder)
        self.client: Any = client_of(place)

    def elsewhere(self, folder: Path) -> ObjectArtifactStore:
        return replace(self.place, bucket="no-such-bucket").store(folder)

    def label(self, digest: str, data: bytes) -> None:
        key = self.store.key(digest)
        self.client.put_object(Bucket=self.place.bucket, Key=key, Body=data, Metadata=LABEL)

    def labelled(self, digest: str) -> bool:
        head = self.client.head_object(Bucket=self.place.bucket, Key=self.store.key(digest))
        return bool(head["Metadata"] == LABEL)

    def overwrite(self, digest: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.place.bucket, Key=self.store.key(digest), Body=data)

    def read(self, digest: str) -> bytes:
        response = self.client.get_object(Bucket=self.place.bucket, Key=self.store.key(digest))
        data: bytes = response["Body"].read()
        return data

    def set_aside(self, digest: str) -> None:
        """Move right bytes to quarantine, which no method of the store does."""
        key = self.store.key(digest)
        aside = f"{key.replace('sha256', 'quarantine')}-then"
        self.client.put_object(Bucket=self.place.bucket, Key=aside, Body=self.read(digest))
        self.client.delete_object(Bucket=self.place.bucket, Key=key)

    def everything(self) -> set[str]:
        prefix = f"{self.place.prefix}/"
        response = self.client.list_objects_v2(Bucket=self.place.bucket, Prefix=prefix)
        return {row["Key"].removeprefix(prefix) for row in response.get("Contents", ())}

    def break_down(self) -> None:
        """No server listens at port 1."""
        gone = S3Place("gone", endpoint_url="http://127.0.0.1:1", access_key_id="a", secret_access_key="b")
        self.store = gone.store(self.folder)
