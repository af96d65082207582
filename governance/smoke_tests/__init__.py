"""Smoke tests of releases, and their gate."""
