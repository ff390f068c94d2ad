"""Repos that the Hub has just refused to this node: others are told so without asking the Hub again. Seconds."""

from __future__ import annotations

from distd.core.refs import Repo
from distd.errors import AccessDenied, DistdError, RepoNotFound

DENIED_S = 10.0
"""Covers the questions of a whole fleet about one repo; a token that was just replaced counts soon after."""
DENIED_MAX = 256


class Denials:
    """The latest refusals; `now` is monotonic."""

    def __init__(self) -> None:
        self._denied: dict[Repo, tuple[float, DistdError]] = {}

    def note(self, repo: Repo, error: DistdError, now: float) -> None:
        """Remembers an error that means no access; any other is of no interest here."""
        if not isinstance(error, AccessDenied | RepoNotFound):
            return
        self._denied.pop(repo, None)
        self._denied[repo] = (now + DENIED_S, error)
        if len(self._denied) > DENIED_MAX:
            del self._denied[next(iter(self._denied))]

    def find(self, repo: Repo, now: float) -> DistdError | None:
        until, error = self._denied.get(repo, (now, None))
        return error if now < until else None
