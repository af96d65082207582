"""Artifacts, descriptors, signing, publishing."""
