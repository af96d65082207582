"""Revocation and retirement of releases."""
