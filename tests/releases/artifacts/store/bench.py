"""A store under test, and a hand that reaches behind it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from releases.artifacts.store import ArtifactStore, LocalArtifactStore, S3ArtifactStore
from releases.artifacts.store.local import MARKER
from tests.s3 import client_of


class Bench(ABC):
    store: ArtifactStore

    @abstractmethod
    def overwrite(self, digest: str, data: bytes) -> None:
        """Put other bytes in the place of a blob, as no method of the store would."""

    @abstractmethod
    def read(self, digest: str) -> bytes: ...

    @abstractmethod
    def everything(self) -> set[str]:
        """The places of all that is kept, staging aside."""

    @abstractmethod
    def break_down(self) -> None:
        """Have every further use of the store fail, although its blobs are whole."""

    def keep(self, data: bytes) -> str:
        staged = self.store.stage(limit=10**9)
        staged.write(data)
        return staged.keep()


@dataclass
class LocalBench(Bench):
    store: LocalArtifactStore

    def overwrite(self, digest: str, data: bytes) -> None:
        file = self.store.path(digest)
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists():
            file.chmod(0o644)
        file.write_bytes(data)

    def read(self, digest: str) -> bytes:
        return self.store.path(digest).read_bytes()

    def everything(self) -> set[str]:
        root = self.store.root
        files = {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
        return {str(path) for path in files if path.parts[0] not in {"staging", MARKER}}

    def break_down(self) -> None:
        """A file where the folder of all blobs should be: even root cannot look behind it."""
        folder = self.store.root / "sha256"
        if folder.exists():
            folder.rename(self.store.root / "out-of-reach")
        folder.write_bytes(b"")


@dataclass
class S3Bench(Bench):
    store: S3ArtifactStore

    def __post_init__(self) -> None:
        self.client: Any = client_of(self.store.where)

    def overwrite(self, digest: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.store.where.bucket, Key=self.store.key(digest), Body=data)

    def read(self, digest: str) -> bytes:
        answer = self.client.get_object(Bucket=self.store.where.bucket, Key=self.store.key(digest))
        data: bytes = answer["Body"].read()
        return data

    def everything(self) -> set[str]:
        prefix = f"{self.store.where.prefix}/"
        answer = self.client.list_objects_v2(Bucket=self.store.where.bucket, Prefix=prefix)
        return {row["Key"].removeprefix(prefix) for row in answer.get("Contents", ())}

    def break_down(self) -> None:
        """Nobody listens there, at the first port of all."""
        where = type(self.store.where)(
            "gone", endpoint_url="http://127.0.0.1:1", access_key_id="a", secret_access_key="b"
        )
        self.store = S3ArtifactStore(where, self.store.staging.parent)
