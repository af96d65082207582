"""Sign-in with an identity provider (OpenID Connect), which is off unless OIDC_ISSUER is set. See ADR 131."""
