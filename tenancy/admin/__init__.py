"""Admin pages of tenants, users and API tokens."""

from tenancy.admin import tenants, tokens

__all__ = ["tenants", "tokens"]
