"""What every request shares: repos, settings, clock, signer of data URLs, counters, faults and quotas."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from tests.hub.access import Refusal
from tests.hub.counters import Counters
from tests.hub.faults import Faults
from tests.hub.limits import Quotas
from tests.hub.repo import Registry, Repo, RepoFile
from tests.hub.wire import Ask


@dataclass(slots=True)
class Settings:
    """May be changed while the Hub runs. `rate_bytes_per_s` caps the data origin in total, the other one each
    connection; None is no cap. `latency_s` delays every answer."""

    page_size: int = 1000
    expand_page_size: int = 50
    url_life_s: int = 3600
    rate_bytes_per_s: float | None = None
    connection_rate_bytes_per_s: float | None = None
    latency_s: float = 0.0
    xet_headers: bool = False
    code_on_anonymous_401: bool = False


class Clock:
    """Unix time that tests can move forward."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def now(self) -> float:
        return time.time() + self._ahead_s

    def advance(self, seconds: float) -> None:
        self._ahead_s += seconds


DISPOSITION = "response-content-disposition"


@dataclass(slots=True)
class Signer:
    """Makes and checks the data origin's URLs: an HMAC over path, name and expiry with a key of this server.

    What is signed is the decoded form, since HTTP clients are free to quote an equal URL differently.
    """

    key: bytes
    _links: dict[tuple[str, str], tuple[Repo, RepoFile]] = field(default_factory=dict)

    def sign(self, repo: Repo, file: RepoFile, expires: int) -> str:
        """Path and query of a URL that serves the file until `expires` (Unix seconds)."""
        path = f"/xet-bridge-us/{repo.oid}/{file.xet_hash}"
        # Two paths of one content share the URL's path; the name in the query tells them apart.
        disposition = f"inline; filename*=UTF-8''{quote(file.path, safe='')}"
        self._links[path, disposition] = (repo, file)
        query = {
            "X-Xet-Cas-Uid": "public",
            DISPOSITION: disposition,
            "Expires": str(expires),
            "Signature": self._signature(path, disposition, str(expires)),
            "Key-Pair-Id": "TEST",
        }
        return f"{path}?{urlencode(query, quote_via=quote)}"

    def open(self, ask: Ask, now: float) -> tuple[Repo, RepoFile]:
        """The file of a URL made by `sign`; 403 when it is forged or expired."""
        query = ask.query
        expires = query.get("Expires", "")
        expected = self._signature(ask.path, query.get(DISPOSITION, ""), expires)
        if not hmac.compare_digest(query.get("Signature", "").encode(), expected.encode()):
            raise Refusal(403, "SignatureDoesNotMatch")
        if int(expires) <= now:
            raise Refusal(403, "Request has expired")
        link = self.link(ask)
        assert link is not None, "signed by this server, so it is known"
        return link

    def link(self, ask: Ask) -> tuple[Repo, RepoFile] | None:
        """The file a URL was made for, whether it is still good or not."""
        return self._links.get((ask.path, ask.query.get(DISPOSITION, "")))

    def _signature(self, path: str, disposition: str, expires: str) -> str:
        signed = f"{path}\n{disposition}\n{expires}"
        return hmac.new(self.key, signed.encode(), hashlib.sha256).hexdigest()


@dataclass(slots=True)
class HubState:
    """One Hub's state. Handlers read it; only `exchange` counts and consumes faults and quota."""

    settings: Settings
    registry: Registry
    signer: Signer
    clock: Clock
    counters: Counters
    faults: Faults
    quotas: Quotas
