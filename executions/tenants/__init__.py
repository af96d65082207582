"""Quotas of a tenant and its worker keys."""
