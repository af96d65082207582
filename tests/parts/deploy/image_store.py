import json
import os
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path

from embedded.product import PROJECT
from tests.programs import output_of
from tests.words import words

TOOLS = PROJECT / ".local" / "deploy-tools"
CONTAINERFILE = PROJECT / "deploy" / "image" / "Containerfile"
BASE = "localhost/base"
USER = "10001:10001"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
MISSING = "run .ci/install-deploy-tools on Debian as root: it unpacks buildah, and makes a base with debootstrap"


class Images:
    """A folder with images, built in a chroot. Needs root, Debian's mirror at the first run, and PyPI."""

    def __init__(self, folder: Path) -> None:
        assert os.geteuid() == 0, "buildah's chroot isolation and a read-only root need root"
        assert (TOOLS / "base").is_dir(), MISSING
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self._policy = folder / "policy.json"
        self._policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        self._configuration = folder / "containers.conf"
        self._configuration.write_text(f'[engine]\nhelper_binaries_dir = ["{TOOLS}/usr/lib/podman"]\n')
        container = self._buildah("from", f"--signature-policy={self._policy}", "scratch")
        self._buildah("add", "--quiet", container, TOOLS / "base", "/")
        self._buildah("commit", "--quiet", "--rm", f"--signature-policy={self._policy}", container, BASE)

    def build(self, target: str) -> Path:
        """Build one target of the Containerfile and return the folder with its root. Takes about a minute."""
        limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
        hard = {name: resource.getrlimit(limit)[1] for name, limit in limits.items()}  # Buildah's may be above them
        ulimits = [f"--ulimit={name}={most}:{most}" for name, most in hard.items()]
        volumes = [f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"] if CERTIFICATES.exists() else []
        self._buildah(
            *words(f"build --quiet --isolation=chroot --pull=never --signature-policy={self._policy}"),
            *ulimits,
            *volumes,
            *words(f"--build-arg=BASE={BASE} --file={CONTAINERFILE} --target={target} --tag={target} {PROJECT}"),
        )
        container = self._buildah("from", "--pull=never", f"--signature-policy={self._policy}", target)
        return Path(self._buildah("mount", container))

    def configuration(self, image: str) -> dict[str, object]:
        """Return the configuration of an image, such as its user and its entry point."""
        config: dict[str, object] = json.loads(self._buildah("inspect", "--type=image", image))["OCIv1"]["config"]
        return config

    def _buildah(self, *arguments: str | Path) -> str:
        store = [f"--root={self.folder}/images", f"--runroot={self.folder}/run", "--storage-driver=vfs"]
        variables = {**os.environ, "CONTAINERS_CONF": str(self._configuration), "TMPDIR": str(self.folder)}
        return output_of([TOOLS / "usr/bin/buildah", *store, *arguments], env=variables).strip()


def inside(
    root: Path, command: Sequence[str], environment: Mapping[str, str], mounts: Mapping[str, Path] | None = None
) -> list[str]:
    """Return a command that runs `command` in an image: as USER, with a read-only root and a fresh /tmp.

    `mounts` are folders of this machine by their paths in the image. The process shares the network of this machine.
    """
    script = [
        "set -e",
        f"mount --bind {root} {root}",
        f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp",
        f"mount -t proc proc {root}/proc",
        f"mount --rbind /dev {root}/dev",
        *(f"mount --bind {folder} {root}{path}" for path, folder in (mounts or {}).items()),
        f"mount -o remount,ro,bind {root}",
        f"cd {root}",
        f'exec chroot --userspec={USER} {root} /usr/bin/env -i -C /tmp "$@"',
    ]
    variables = [f"{name}={value}" for name, value in environment.items()]
    return ["unshare", "--mount", "sh", "-c", "\n".join(script), "sh", *variables, *command]
