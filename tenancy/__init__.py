"""Tenants, memberships, roles, tokens, log-in, saved views."""
