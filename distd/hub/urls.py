"""URLs of the Hub and of its data servers: building, comparing, following, and how long a signed one lives.

Signed URLs are credentials: whatever names a URL to a person or a log uses `shown`, which leaves the query out.
Times are Unix seconds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, urljoin, urlsplit

from distd.core.refs import Repo, RepoType

WEB_PREFIXES: dict[RepoType, str] = {"model": "", "dataset": "datasets/", "space": "spaces/"}
"""Where repos of a type live below the endpoint; models came first and have none."""

Origin = tuple[str, str, int]
"""Scheme, host and port: the unit to which a token belongs (RFC 6454)."""

URL_LENGTH_MAX = 16_384
"""Longest URL followed. Real signed ones have about 1,500 characters."""

QUERY_FIELDS_MAX = 100
"""Fields of a query looked at; real signed URLs have about ten."""

_PORTS = {"http": 80, "https": 443}
_UNIX_TIME = re.compile(r"\d{10}", re.ASCII)
_DURATION = re.compile(r"\d{1,9}", re.ASCII)
_RESERVED = "%/:?#[]@!$&'()*+,;=~"
"""Kept as they are in a redirect target: RFC 3986's reserved characters, and escapes that are already there."""


def resolve_url(endpoint: str, repo: Repo, commit: str, path: str) -> str:
    """The URL that answers a file's content, or redirects to it. `path` is quoted part by part."""
    return f"{endpoint.rstrip('/')}/{WEB_PREFIXES[repo.type]}{repo.id}/resolve/{quote(commit, safe='')}/{quote(path)}"


def repo_url(endpoint: str, repo: Repo) -> str:
    """The repo's page for people, where access is asked for."""
    return f"{endpoint.rstrip('/')}/{WEB_PREFIXES[repo.type]}{repo.id}"


def origin(url: str) -> Origin:
    """Raises ValueError for a URL without a host or with another scheme than http and https."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{shown(url)!r} is not an http or https URL")
    return parts.scheme, parts.hostname.lower(), parts.port or _PORTS[parts.scheme]


def redirect_target(url: str, location: str) -> str:
    """Where an answer of `url` with this `Location` leads, absolute and without fragment.

    Raises ValueError, fit for a person, for what is not to be followed: no http or https URL, one with a user name
    or password, one that falls from https to http, or one longer than `URL_LENGTH_MAX`.
    """
    if not location or len(location) > URL_LENGTH_MAX:
        raise ValueError(f"redirects to a Location of {len(location)} characters")
    # Quoting what RFC 3986 does not allow leaves one reading of the URL to all parsers (backslashes, spaces, controls).
    target = urljoin(url, quote(location, safe=_RESERVED)).partition("#")[0]
    parts = urlsplit(target)
    if "@" in parts.netloc:
        raise ValueError(f"redirects to a URL with a user name, at {parts.hostname}")
    scheme, host, _port = origin(target)
    if scheme == "http" and urlsplit(url).scheme == "https":
        raise ValueError(f"redirects from https to http, at {host}")
    return target


def expires_unix(url: str) -> float | None:
    """When a signed URL stops working, from its query; None when it does not say.

    Known: `Expires` (CloudFront, Google), `exp`, `X-Xet-Expires` and `X-Xet-Expiration` as Unix time, `X-Amz-Date` with `X-Amz-Expires`
    (S3 presigning) and their `X-Goog-` twins as start and seconds. The earliest counts.
    """
    try:
        pairs = parse_qsl(urlsplit(url).query, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        return None  # more fields than any signer makes
    query = {name.lower(): value for name, value in pairs}
    found = [
        float(query[name])
        for name in ("expires", "exp", "x-xet-expires", "x-xet-expiration")
        if _UNIX_TIME.fullmatch(query.get(name, ""))
    ]
    for vendor in ("amz", "goog"):
        lifetime_s = query.get(f"x-{vendor}-expires", "")
        signed_unix = _iso_basic(query.get(f"x-{vendor}-date", ""))
        if signed_unix is not None and _DURATION.fullmatch(lifetime_s):
            found.append(signed_unix + float(lifetime_s))
    return min(found, default=None)


def shown(url: str) -> str:
    """The URL as logs, stories and errors may show it: no query, no user name."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(an unreadable URL)"
    return f"{parts.scheme}://{host}{port}{parts.path}"


def host_shown(url: str) -> str:
    """`host:port` of a URL, for sentences about a server."""
    _scheme, host, port = origin(url)
    return f"{host}:{port}"


def _iso_basic(text: str) -> float | None:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
