"""Admin pages of tenants, memberships, users, tokens and the audit log, and the base classes of all pages (`base`)."""

from tenancy.admin import audit, memberships, tenants, tokens, users

__all__ = ["audit", "memberships", "tenants", "tokens", "users"]
