"""Resolves artifacts that a release descriptor names by `maven:` URIs from configured Maven repositories (ADR 47)."""
