"""Options of a worker from its command line or its environment, for both protocols."""

from __future__ import annotations

import argparse
import os
import ssl
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipelines.errors import DefinitionError
from pipelines.worker.artifact import located, named_release
from pipelines.worker.hosted_release import HostedRelease, host_artifact, host_source
from pipelines.worker.worker_log import enable_own_loggers
from wire.addresses import is_sentinel, parse_sentinel, uses_tls
from wire.worker_keys import REFERENCES, SHORTEST_REST_SECRET, MalformedKey, WorkerKey, parse_key

THREADS_ABANDONED: Final = 75
"""The exit status of a worker that ends because of its abandoned threads, so that its supervisor starts it again."""

if TYPE_CHECKING:
    from coordinator_client.api import Client
    from pipelines.worker.tracing import Tracer


def required(value: str | None, option: str, variable: str) -> str:
    """Return ``value``. Raises ``DefinitionError`` MISSING_OPTION if it is missing or empty."""
    if not value:
        from coordinator_client.profiles import local_advice

        raise DefinitionError("MISSING_OPTION", f"{option} or ${variable} is required{local_advice()}")
    return value


def broker_url(value: str | None, ca_file: str) -> str:
    """Return the broker's URL. Raises ``DefinitionError`` if the URL or the file of certificates is unusable."""
    url = required(value, "--broker-url", "PIPELINES_BROKER_URL")
    if "?" in url or (ca_file and not uses_tls(url)):
        raise DefinitionError(
            "INVALID_BROKER_URL",
            "--broker-url must not have a query, and must be a rediss:// or sentinels:// URL"
            " if --broker-ca-file is set",
        )
    if is_sentinel(url):
        try:
            parse_sentinel(url)
        except ValueError as error:
            raise DefinitionError("INVALID_BROKER_URL", f"--broker-url {error}") from None
    if ca_file:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
        except OSError:
            raise DefinitionError(
                "INVALID_CA_FILE", f"{ca_file} is not a readable file of certificates in PEM format"
            ) from None
    return url


def broker_advice(error: str) -> str:
    """Return what to check after the broker refused a connection with this error, or did not answer."""
    if any(word in error.lower() for word in ("password", "noauth", "authentication", "wrongpass", "noperm")):
        return "Check the user and the password in --broker-url or PIPELINES_BROKER_URL"
    if any(word in error.lower() for word in ("certificate", "ssl", "tls")):
        return "Check the scheme, which is rediss:// with TLS, and --broker-ca-file"
    return (
        "Check that --broker-url or PIPELINES_BROKER_URL is the address of the coordinator's broker, and that it runs "
        "and can be reached from here"
    )


def hosted_release(arguments: argparse.Namespace) -> HostedRelease:
    """Load the code that the options choose, and read the values that the pipeline needs from its environment.

    Raises the errors of `located`, `host_artifact`, `host_source`, `client_of` and `settings_of`.
    """
    release = _loaded_release(arguments)
    enable_own_loggers()
    if not (release.pipeline.config or release.pipeline.secrets):
        return release
    from pipelines.authoring.step_settings import settings_of  # most pipelines, and so most workers, do not need it

    return replace(release, settings=settings_of(release.pipeline, folder=arguments.secrets))


def _loaded_release(arguments: argparse.Namespace) -> HostedRelease:
    """Load the code of a release on this machine, or of one that is downloaded."""
    tenant = arguments.tenant or ""
    if arguments.from_source:
        from pipelines.lock_files import lock_from

        lock = lock_from(arguments.lock) if arguments.lock else None
        with named_release(arguments.release, lambda: _client(arguments)) as descriptor:
            return host_source(arguments.from_source, descriptor, tenant, lock=lock)
    files = located(arguments.release, lambda: _client(arguments), arguments.artifact, fetch=arguments.fetch)
    with files as (descriptor, artifact):
        return host_artifact(descriptor, tenant, artifact, allow_drift=arguments.allow_environment_drift)


def _client(arguments: argparse.Namespace) -> Client:
    from pipelines.release.publish import client_of

    return client_of(arguments)


def tracer_to(endpoint: str) -> Tracer | None:
    """Return what exports spans to `endpoint`; None if that is empty. Then OpenTelemetry is not imported.

    Raises ``DefinitionError`` TRACING_NOT_INSTALLED.
    """
    if not endpoint:
        return None
    try:
        from pipelines.worker.tracing import Tracer
    except ModuleNotFoundError as error:
        text = f"the module {error.name} is missing; install durable-pipelines[tracing], or give no --traces-endpoint"
        raise DefinitionError("TRACING_NOT_INSTALLED", text) from None
    return Tracer(endpoint)


def worker_key(file: Path | None) -> WorkerKey:
    """Parse the worker key that `worker_secret` returns. Raises ``DefinitionError`` MALFORMED_WORKER_KEY."""
    try:
        return parse_key(worker_secret(file))
    except MalformedKey as error:
        hint = "copy the whole line that `coordinator worker_key TENANT` prints"
        raise DefinitionError("MALFORMED_WORKER_KEY", f"the worker key is unusable: {error}; {hint}") from None


def rest_secret(file: Path | None) -> str:
    """Return the secret that verifies calls of a REST worker. Raises ``DefinitionError`` MALFORMED_WORKER_KEY."""
    secret = worker_secret(file)
    if len(secret) < SHORTEST_REST_SECRET or secret.startswith(REFERENCES):
        text = f"the secret is a reference, or has fewer than {SHORTEST_REST_SECRET} characters"
        raise DefinitionError("MALFORMED_WORKER_KEY", f"{text}; --key-file names a file that contains it")
    return secret


def worker_secret(file: Path | None) -> str:
    """Return the worker's secret from a file or the environment. Other users can see the command line."""
    if file is None:
        return required(os.environ.get("PIPELINES_WORKER_KEY"), "--key-file", "PIPELINES_WORKER_KEY")
    try:
        return required(file.read_text(encoding="utf-8").strip(), "--key-file", "PIPELINES_WORKER_KEY")
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError("MISSING_OPTION", f"the key file {file} cannot be read") from error
