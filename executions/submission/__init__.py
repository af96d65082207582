"""Admission, submission, group commit."""
