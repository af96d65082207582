"""Checks a file of payment instructions and settles the valid ones."""
