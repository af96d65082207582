import hashlib
import json
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from releases.models import TrustedKey
from releases.trust import trust
from releases.trust.documents import PREDICATE
from tenancy.models import Tenant
from wire.documents import signing
from wire.documents.execution_statement import STATEMENT_TYPE


def private_key(name: str = "ci") -> Ed25519PrivateKey:
    """Return the key for a name. The same name always has the same key, so that failures can be reproduced."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def public_pem(name: str = "ci") -> str:
    return signing.to_pem(private_key(name).public_key())


def private_pem(name: str = "ci") -> str:
    """Return the unencrypted private key for a name, as `pipelines key` writes it."""
    return private_key(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def key_id(name: str = "ci") -> str:
    return signing.key_id(private_key(name).public_key())


def trusted(owner: Tenant, name: str = "ci") -> TrustedKey:
    return trust.add_key(owner, name=name, public_key=public_pem(name), actor="user:admin")


def envelope(document: dict[str, Any], *names: str, payload_type: str = signing.RELEASE_TYPE) -> bytes:
    """Return a DSSE envelope of the JSON of `document`, signed with the keys of these names."""
    keys = [private_key(name) for name in names or ("ci",)]
    return signing.sign(json.dumps(document).encode(), payload_type, keys)


def statement(*digests: str, **predicate: Any) -> dict[str, Any]:
    """Return SLSA provenance of artifacts with these digests (`sha256:<hex>`)."""
    return {
        "_type": STATEMENT_TYPE,
        "predicateType": PREDICATE,
        "subject": [{"name": "app.zip", "digest": {"sha256": digest.removeprefix("sha256:")}} for digest in digests],
        "predicate": {
            "buildDefinition": {
                "buildType": "https://ci.example/build/v1",
                "externalParameters": {
                    "workflow": {"repository": "https://git.example/acme/orders", "ref": "refs/tags/v1"}
                },
                "resolvedDependencies": [
                    {"uri": "git+https://git.example/acme/orders", "digest": {"gitCommit": "c0ffee"}}
                ],
            },
            "runDetails": {
                "builder": {"id": "https://ci.example/builder"},
                "metadata": {"invocationId": "run-7", "finishedOn": "2026-11-24T10:00:00Z"},
            },
            **predicate,
        },
    }


def cyclone(components: Sequence[str] = ("requests", "urllib3"), digest: str = "") -> dict[str, Any]:
    """Return a CycloneDX document, with the artifact's digest unless `digest` is empty."""
    hashes = [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}] if digest else []
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "app", "hashes": hashes}},
        "components": [{"type": "library", "name": name, "version": "1.0"} for name in components],
    }


def spdx(packages: Sequence[str] = ("requests",), digest: str = "") -> dict[str, Any]:
    """Return an SPDX document that describes a package `app`, with its digest unless `digest` is empty."""
    checksums = [{"algorithm": "SHA256", "checksumValue": digest.removeprefix("sha256:")}] if digest else []
    described = {"SPDXID": "SPDXRef-app", "name": "app", "checksums": checksums}
    return {
        "spdxVersion": "SPDX-2.3",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "app",
        "packages": [described, *({"SPDXID": f"SPDXRef-{name}", "name": name} for name in packages)],
        "relationships": [
            {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-app"}
        ],
    }
