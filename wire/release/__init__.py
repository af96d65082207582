"""Zip archives, and the rules that a release follows."""
