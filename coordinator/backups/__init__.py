"""Backups of an installation: one snapshot of the database, and the artifacts that its rows name.

A backup is a folder that is complete or absent. It contains no setting and no secret of the installation.
"""
