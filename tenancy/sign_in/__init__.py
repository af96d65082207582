"""Sign-in with an identity provider (OpenID Connect), roles from its groups, and second factors. See ADR 131."""
