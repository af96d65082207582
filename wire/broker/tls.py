"""Options for TLS connections to the broker. Pure."""

import ssl
from typing import Any

from wire.broker_url import uses_tls


def tls_options(url: str, ca_file: str = "") -> dict[str, Any]:
    """Return redis-py's options for a TLS connection to `url`; none for `redis://` and `sentinel://` URLs.

    The server's certificate must match its host name. It must be signed by an authority that the system trusts, or by
    one in `ca_file`. Pass these options to every connection: by default, kombu accepts any certificate.
    """
    if not uses_tls(url):
        return {}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, "ssl_ca_certs": ca_file or None}
