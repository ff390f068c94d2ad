"""How this host reaches the outside: its trusted certificates and its proxies, the same for metadata and data."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from distd.errors import InvalidRequest


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Trusts the system's authorities and, beside them, those in `ca_file` (PEM).

    Beside and not instead: behind a company's mirror the data may still come from a public server.
    Raises InvalidRequest for a file that cannot be used.
    """
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ValueError) as error:
            raise InvalidRequest(
                f"the CA file {ca_file} cannot be used (hub.ca_file): {error}; it holds PEM certificates"
            ) from error
    return context


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for `url` (`https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`), or None.

    Read anew at each call. Done here and not by the HTTP libraries' own `trust_env`, because those would also take
    credentials from ~/.netrc and send them to whatever host a redirect names. Raises InvalidRequest for a proxy
    that is not http or https.
    """
    parts = urlsplit(url)
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc, proxies):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    scheme = urlsplit(proxy).scheme
    if scheme not in ("http", "https"):
        raise InvalidRequest(
            f"the environment names a {scheme} proxy for {parts.scheme}: only http and https work"
        )
    return proxy
