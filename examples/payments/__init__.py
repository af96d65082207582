"""Checks a file of payment instructions and settles what is right."""
