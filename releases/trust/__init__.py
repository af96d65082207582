"""Attachments, signatures, trusted keys, provenance, SBOMs."""
