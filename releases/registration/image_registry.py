"""Checks that registries have the images of a release, with a request for each manifest (OCI distribution API).

The request is HEAD, or GET if the registry does not implement HEAD: then the manifest must have the digest. No image is
pulled. If a registry gives no usable response, there is no verdict and the check is retried later. Requests are sent
only to public addresses and to the networks that the installation allows (`foundation.http.address_guard`). Redirects
are not followed.
"""

import base64
import hashlib
import json
import logging
import re
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

from django.conf import settings

from foundation.http import address_guard
from foundation.http.address_guard import TargetRefused, Unreachable
from foundation.http.exchange import Broken, NotConnected, Response, TimedOut, exchange
from releases.registration import image_reference
from releases.registration.image_reference import DOCKER_HUB, ImageReference
from releases.repositories.errors import ArtifactRefused, RepositoryUnavailable, Unanswered
from wire.documents.descriptor import ArtifactRef, Descriptor, artifact_field
from wire.documents.json_reader import shown
from wire.findings import Finding

log = logging.getLogger(__name__)
MANIFESTS: Final = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
"""The specification requires that clients and registries support manifests of this size."""
MOST_UNANSWERED: Final = 3
_NO_HEAD: Final = (405, 501)
_MAX_TOKEN_BYTES = 64 * 1024
_PARAMETER = re.compile(r'([a-zA-Z]+)="([^"\\]*)"')
_PRINTABLE = re.compile(r"[!-~]+")


def findings(descriptor: Descriptor) -> tuple[list[Finding], Unanswered | None]:
    """Return a finding for each image that its registry does not have, and the first image without a verdict.

    The checks of all images together may take IMAGE_REGISTRY_SECONDS, and end after MOST_UNANSWERED images without a
    verdict. References that do not pin the digest of their artifact are skipped, because they have findings already
    (`image_reference.findings`).
    """
    found: list[Finding] = []
    unanswered: list[Unanswered] = []
    deadline = time.monotonic() + settings.IMAGE_REGISTRY_SECONDS
    for position, artifact in image_reference.images(descriptor):
        reference = image_reference.pinned(artifact)
        if reference is None or len(unanswered) == MOST_UNANSWERED:
            continue
        try:
            _Check(reference, artifact, deadline).run()
        except ArtifactRefused as refusal:
            found.append(Finding(refusal.code, artifact_field(position, "uri"), str(refusal)))
        except RepositoryUnavailable as error:
            message = f"image {shown(artifact.artifact_id)}: {reference.host} is unavailable: {error}"
            unanswered.append(Unanswered("IMAGE_REGISTRY_UNAVAILABLE", position, message))
    return found, unanswered[0] if unanswered else None


@dataclass(frozen=True, slots=True)
class _Check:
    """The check of one image. `deadline` is a time of the monotonic clock."""

    reference: ImageReference
    artifact: ArtifactRef
    deadline: float

    def run(self) -> None:
        """Return if the registry has the manifest. Raises `ArtifactRefused` and `RepositoryUnavailable`."""
        host = self.reference.host
        if settings.IMAGE_REGISTRIES and host not in settings.IMAGE_REGISTRIES:
            raise ArtifactRefused(
                "IMAGE_REGISTRY_NOT_ALLOWED", f"{host} is not among the registries in IMAGE_REGISTRIES"
            )
        response = self._ask("HEAD")
        if response.status not in _NO_HEAD:
            self._judge(response, response.headers.get("docker-content-digest"))
            return
        response = self._ask("GET")
        if response.status == 200 and not response.complete:
            message = f"{host} has a manifest of more than {MAX_MANIFEST_BYTES} bytes"
            raise ArtifactRefused("IMAGE_MANIFEST_TOO_LARGE", message)
        self._judge(response, f"sha256:{hashlib.sha256(response.body).hexdigest()}")

    def _ask(self, method: str) -> Response:
        """Return the response to a request for the manifest, with the authorization that the registry requires."""
        response = self._request(method, {})
        return self._request(method, self._authorised(response)) if response.status == 401 else response

    def _judge(self, response: Response, digest: str | None) -> None:
        """Return if the response is a manifest. `digest` is that of the manifest, if it is known."""
        host = self.reference.host
        if response.status == 404:
            raise ArtifactRefused(
                "IMAGE_MANIFEST_MISSING", f"{host} has no manifest {self.artifact.digest} in this repository"
            )
        if response.status in (401, 403):
            raise ArtifactRefused("IMAGE_REGISTRY_DENIED", f"{host} denies this coordinator access to the repository")
        if response.status != 200:
            raise RepositoryUnavailable(f"it responded with status {response.status}")
        if digest and digest != self.artifact.digest:
            raise ArtifactRefused("IMAGE_MANIFEST_OTHER_DIGEST", f"{host} returned a manifest with a different digest")

    def _request(self, method: str, headers: dict[str, str]) -> Response:
        scheme = "http" if self.reference.host in settings.IMAGE_REGISTRIES_PLAIN_HTTP else "https"
        host = "registry-1.docker.io" if self.reference.host == DOCKER_HUB else self.reference.host
        url = f"{scheme}://{host}/v2/{self.reference.repository}/manifests/{self.artifact.digest}"
        return _call(method, url, {"Accept": MANIFESTS, **headers}, self.deadline, MAX_MANIFEST_BYTES)

    def _authorised(self, challenged: Response) -> dict[str, str]:
        """Return the authorization header for a challenge: a token from the realm of the registry, or the password."""
        scheme, _, rest = challenged.headers.get("www-authenticate", "").partition(" ")
        if scheme.lower() == "basic":
            return self._password()
        if scheme.lower() != "bearer":
            return {}
        challenge = {name.lower(): value for name, value in _PARAMETER.findall(rest)}
        return {"Authorization": f"Bearer {self._token(challenge)}"}

    def _token(self, challenge: dict[str, str]) -> str:
        realm, host = challenge.get("realm", ""), self.reference.host
        # A registry must not make us send a password without TLS.
        if urlsplit(realm).scheme != "https" and host not in settings.IMAGE_REGISTRIES_PLAIN_HTTP:
            raise ArtifactRefused("IMAGE_REGISTRY_DENIED", f"{host} names no https address for tokens")
        query = {"service": challenge.get("service", ""), "scope": f"repository:{self.reference.repository}:pull"}
        joined = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}"
        response = _call("GET", joined, self._password(), self.deadline, _MAX_TOKEN_BYTES)
        if response.status in (400, 401, 403, 404):
            raise ArtifactRefused("IMAGE_REGISTRY_DENIED", f"{host} gives this coordinator no token for the repository")
        try:
            document = json.loads(response.body) if response.status == 200 and response.complete else None
        except (ValueError, RecursionError):
            document = None
        token = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else None
        if not isinstance(token, str) or not _PRINTABLE.fullmatch(token):
            raise RepositoryUnavailable(f"no usable token was returned (status {response.status})")
        return token

    def _password(self) -> dict[str, str]:
        known = settings.IMAGE_REGISTRY_CREDENTIALS.get(self.reference.host)
        return {"Authorization": f"Basic {base64.b64encode(known.encode()).decode()}"} if known else {}


def _call(method: str, url: str, headers: dict[str, str], deadline: float, limit: int) -> Response:
    """Return the response, with at most `limit` bytes of its body."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise RepositoryUnavailable("the registries of this release take too long")
    try:
        target = address_guard.vet(url, allowed=settings.IMAGE_REGISTRY_ALLOWED_NETWORKS)
        return exchange(
            target,
            method,
            b"",
            headers=headers,
            connect_seconds=remaining / address_guard.MOST_ADDRESSES,
            seconds=remaining,
            limit=limit,
            ca_file=settings.IMAGE_REGISTRY_CA_FILE,
        )
    except TargetRefused as error:
        raise ArtifactRefused("IMAGE_REGISTRY_NOT_ALLOWED", f"the registry may not be called: {error}") from None
    except (Unreachable, NotConnected, TimedOut, Broken) as error:
        log.warning("registry %s: %s", urlsplit(url).netloc, error)
        raise RepositoryUnavailable(str(error)) from error
