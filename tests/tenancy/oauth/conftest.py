from tests.oauth_issuer import issuer

__all__ = ["issuer"]
