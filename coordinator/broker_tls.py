"""How this product connects to its broker over TLS. Pure."""

import ssl
from typing import Any
from urllib.parse import urlsplit


def tls_options(url: str, ca_file: str = "") -> dict[str, Any]:
    """Return the options of redis-py for a connection to `url` over TLS; none for a `redis://` URL.

    The server must have a certificate for its host name from an authority of the system, or from one in `ca_file`.
    These options must reach every connection: by default, kombu accepts any certificate.
    """
    if urlsplit(url).scheme != "rediss":
        return {}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, "ssl_ca_certs": ca_file or None}
