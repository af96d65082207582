"""The deployment configuration: environments, and profiles that say how artifacts are resolved.

The file is JSON, which is a part of YAML. Unknown members are refused.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.parts.clients.tpf_cli import strict_json
from tests.parts.clients.tpf_cli.failures import BadInput

MODE = "CUSTOMER_MANAGED"
_TARGET_TEXTS = ("endpoint", "organization", "application", "environment", "credential")


@dataclass(frozen=True, slots=True)
class ResolverProfile:
    """How artifacts are resolved. `maven` and `oci` are None where such URIs are not resolved."""

    file: bool = True
    maven: tuple[str, ...] | None = None
    oci: dict[str, str] | None = None
    insecure_registries: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CloudTarget:
    """Where a release is registered. `credential` is the name of a credential, not the credential."""

    endpoint: str
    organization: str
    application: str
    environment: str
    credential: str


@dataclass(frozen=True, slots=True)
class Configuration:
    profiles: dict[str, ResolverProfile]
    environments: dict[str, tuple[ResolverProfile, CloudTarget]]


def load(path: Path) -> Configuration:
    """Return the configuration in the file. Raises `BadInput`."""
    try:
        document = strict_json.read(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"the configuration {path} cannot be read: {error}") from None
    _members("configuration", document, ("resolverProfiles", "environments"))
    profiles = {name: _profile(each) for name, each in _object(document, "resolverProfiles").items()}
    environments: dict[str, tuple[ResolverProfile, CloudTarget]] = {}
    for name, each in _object(document, "environments").items():
        _members(f"environment {name}", each, ("resolverProfile", "target"))
        profile = each.get("resolverProfile")
        if profile not in profiles:
            raise BadInput(f"environment {name} names the unknown resolver profile {profile}")
        environments[name] = profiles[profile], _target(_object(each, "target"))
    return Configuration(profiles, environments)


def profile_for_verification(configuration: Configuration, name: str | None) -> ResolverProfile:
    """Return the named profile, or `default`, or the only one. Raises `BadInput`."""
    profiles = configuration.profiles
    if name is None and "default" not in profiles and len(profiles) == 1:
        return next(iter(profiles.values()))
    found = profiles.get(name or "default")
    if found is None:
        raise BadInput(f"there is no resolver profile {name or 'default'}; name one with --resolver-profile")
    return found


def _profile(document: Any) -> ResolverProfile:
    _members("resolver profile", document, ("file", "maven", "oci"))
    maven, oci = document.get("maven"), document.get("oci")
    if maven is not None:
        _members("maven", maven, ("localRepository", "repositories"))
    if oci is not None:
        _members("oci", oci, ("credentials", "insecureRegistries"))
    return ResolverProfile(
        file=document.get("file", True) is True,
        maven=None if maven is None else (*_local_repository(maven), *_texts(maven, "repositories")),
        oci=None if oci is None else dict(_object(oci, "credentials") if "credentials" in oci else {}),
        insecure_registries=frozenset(_texts(oci or {}, "insecureRegistries")),
    )


def _local_repository(maven: dict[str, Any]) -> tuple[str, ...]:
    local = maven.get("localRepository")
    return () if local is None else (Path(local).absolute().as_uri(),)


def _target(document: dict[str, Any]) -> CloudTarget:
    _members("target", document, ("type", "mode", *_TARGET_TEXTS))
    if document.get("type") != "tpf-cloud":
        raise BadInput(f"unknown target type {document.get('type')}")
    if document.get("mode", MODE) != MODE:
        raise BadInput(f"target.mode must be {MODE}")
    for name in _TARGET_TEXTS:
        if not isinstance(document.get(name), str) or not document[name].strip():
            raise BadInput(f"target.{name} must be a text")
    parts = urlsplit(document["endpoint"])
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise BadInput("target.endpoint must be an http or https URL")
    return CloudTarget(**{name: document[name] for name in _TARGET_TEXTS})


def _members(what: str, document: Any, known: tuple[str, ...]) -> None:
    if not isinstance(document, dict):
        raise BadInput(f"{what} must be an object")
    if unknown := document.keys() - set(known):
        raise BadInput(f"{what} has unknown members {sorted(unknown)}")


def _object(document: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(document.get(name), dict):
        raise BadInput(f"{name} must be an object")
    return dict(document[name])


def _texts(document: dict[str, Any], name: str) -> tuple[str, ...]:
    values = document.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadInput(f"{name} must be an array of texts")
    return tuple(values)
