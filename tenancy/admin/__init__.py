"""Admin pages of tenants, memberships, users and API tokens, and the base classes of all admin pages (`base`)."""

from tenancy.admin import memberships, tenants, tokens, users

__all__ = ["memberships", "tenants", "tokens", "users"]
