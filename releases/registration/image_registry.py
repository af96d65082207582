"""Asks registries whether they have the images of a release (OCI distribution API): one HEAD a manifest.

Nothing is pulled. A registry that does not answer gives no verdict: `RegistryUnavailable`, and a later try may. Calls
go to public addresses alone, and those of the networks that the installation allows (`foundation.http.address_guard`);
redirects are not followed.
"""

import base64
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
from wire.documents.descriptor import ArtifactRef, Descriptor, artifact_field
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
_LONGEST_TOKEN_ANSWER = 64 * 1024
_PARAMETER = re.compile(r'([a-zA-Z]+)="([^"\\]*)"')
_PRINTABLE = re.compile(r"[!-~]+")


class RegistryUnavailable(Exception):
    """A registry, or the way to it, did not answer: no verdict."""


class _Refused(Exception):
    """A finding: its code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def findings(descriptor: Descriptor) -> list[Finding]:
    """What the registries say against a descriptor's images. Raises `RegistryUnavailable` where one says nothing.

    All registries together have IMAGE_REGISTRY_SECONDS. Only references that pin their artifact's digest are asked
    about: the others are findings already.
    """
    found: list[Finding] = []
    deadline = time.monotonic() + settings.IMAGE_REGISTRY_SECONDS
    for position, artifact in image_reference.images(descriptor):
        reference = image_reference.pinned(artifact)
        if reference is None:
            continue
        try:
            _Question(reference, artifact, deadline).ask()
        except _Refused as refused:
            found.append(Finding(refused.code, artifact_field(position, "uri"), str(refused)))
    return found


@dataclass(frozen=True, slots=True)
class _Question:
    reference: ImageReference
    artifact: ArtifactRef
    deadline: float

    def ask(self) -> None:
        """Return where the registry has the manifest."""
        host = self.reference.host
        if settings.IMAGE_REGISTRIES and host not in settings.IMAGE_REGISTRIES:
            raise _Refused("IMAGE_REGISTRY_NOT_ALLOWED", f"{host} is none of the registries that this coordinator asks")
        answer = self._head({})
        if answer.status == 401:
            answer = self._head(self._authorised(answer))
        self._judge(answer)

    def _judge(self, answer: Response) -> None:
        host = self.reference.host
        if answer.status == 404:
            raise _Refused(
                "IMAGE_MANIFEST_MISSING", f"{host} has no manifest {self.artifact.digest} in that repository"
            )
        if answer.status in (401, 403):
            raise _Refused("IMAGE_REGISTRY_DENIED", f"{host} does not let this coordinator see the repository")
        if answer.status != 200:
            raise RegistryUnavailable(f"{host} answered {answer.status}")
        told = answer.headers.get("docker-content-digest", "")
        if told and told != self.artifact.digest:
            raise _Refused("IMAGE_MANIFEST_OTHER_DIGEST", f"{host} answered with the manifest of another digest")

    def _head(self, headers: dict[str, str]) -> Response:
        scheme = "http" if self.reference.host in settings.IMAGE_REGISTRIES_PLAIN_HTTP else "https"
        host = "registry-1.docker.io" if self.reference.host == DOCKER_HUB else self.reference.host
        url = f"{scheme}://{host}/v2/{self.reference.repository}/manifests/{self.artifact.digest}"
        return _call("HEAD", url, {"Accept": MANIFESTS, **headers}, self.deadline)

    def _authorised(self, refusal: Response) -> dict[str, str]:
        """The header that answers a challenge: a token of the realm that the registry names, or our password."""
        scheme, _, rest = refusal.headers.get("www-authenticate", "").partition(" ")
        if scheme.lower() == "basic":
            return self._password()
        if scheme.lower() != "bearer":
            return {}
        challenge = {name.lower(): value for name, value in _PARAMETER.findall(rest)}
        return {"Authorization": f"Bearer {self._token(challenge)}"}

    def _token(self, challenge: dict[str, str]) -> str:
        realm, host = challenge.get("realm", ""), self.reference.host
        # A registry must not have us send a password in the open that it took under TLS.
        if urlsplit(realm).scheme != "https" and host not in settings.IMAGE_REGISTRIES_PLAIN_HTTP:
            raise _Refused("IMAGE_REGISTRY_DENIED", f"{host} names no place over https to get a token from")
        query = {"service": challenge.get("service", ""), "scope": f"repository:{self.reference.repository}:pull"}
        joined = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}"
        answer = _call("GET", joined, self._password(), self.deadline)
        if answer.status in (400, 401, 403, 404):
            raise _Refused("IMAGE_REGISTRY_DENIED", f"{host} gives this coordinator no token for the repository")
        try:
            document = json.loads(answer.body) if answer.status == 200 and answer.complete else None
        except (ValueError, RecursionError):
            document = None
        token = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else None
        if not isinstance(token, str) or not _PRINTABLE.fullmatch(token):
            raise RegistryUnavailable(f"{host} gave no token that can be read ({answer.status})")
        return token

    def _password(self) -> dict[str, str]:
        known = settings.IMAGE_REGISTRY_CREDENTIALS.get(self.reference.host)
        return {"Authorization": f"Basic {base64.b64encode(known.encode()).decode()}"} if known else {}


def _call(method: str, url: str, headers: dict[str, str], deadline: float) -> Response:
    left = deadline - time.monotonic()
    if left <= 0:
        raise RegistryUnavailable("the registries of this release take too long together")
    try:
        target = address_guard.vet(url, allowed=settings.IMAGE_REGISTRY_ALLOWED_NETWORKS)
        return exchange(
            target,
            method,
            b"",
            headers=headers,
            connect_seconds=left / address_guard.MOST_ADDRESSES,
            seconds=left,
            limit=_LONGEST_TOKEN_ANSWER,
            ca_file=settings.IMAGE_REGISTRY_CA_FILE,
        )
    except TargetRefused as error:
        raise _Refused("IMAGE_REGISTRY_NOT_ALLOWED", f"the registry may not be called: {error}") from None
    except (Unreachable, NotConnected, TimedOut, Broken) as error:
        log.warning("registry %s: %s", urlsplit(url).netloc, error)
        raise RegistryUnavailable(str(error)) from error
