"""Statements that the database rejects without a change."""

from typing import Any

from releases.models import (
    Activation,
    Artifact,
    ArtifactUpload,
    Attachment,
    Blob,
    BlobEvent,
    Contract,
    Deployment,
    KeyRevocation,
    Pipeline,
    Release,
    Revocation,
    TrustedKey,
)
from tests.raw_sql import refused, rows

TRUST = (Attachment, TrustedKey, KeyRevocation)
HISTORY = (Activation, Revocation, Deployment)
TABLES = (Pipeline, Contract, Release, Artifact, ArtifactUpload, Blob, BlobEvent, *HISTORY, *TRUST)


def rejected_by(sql: str, *parameters: Any) -> str:
    """Return the constraint that rejects `sql`, which changes nothing."""
    before = [rows(table) for table in TABLES]
    name = refused(sql, *parameters)
    assert [rows(table) for table in TABLES] == before
    return name
