"""Which members may be given the content of which repos: a list that narrows what membership grants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from distd.errors import InvalidRequest

ZONE = "zone:"
"""Before a pattern: of a member's zone, not of its name."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """One line of the list: repos by a glob, and the members that may have them, by globs of names and zones."""

    repo: str
    names: tuple[str, ...]
    zones: tuple[str, ...]

    @classmethod
    def parse(cls, line: str) -> Allowance:
        """Reads `REPO WHO...`. Raises InvalidRequest for a line that lets in nobody by mistake."""
        repo, *who = line.split() or [""]
        if not who or ("/" not in repo and "*" not in repo):
            raise InvalidRequest(
                f'{line!r} allows nobody: write "REPO WHO...", for instance "org/* gpu-1 zone:rack-4"'
            )
        zones = tuple(each.removeprefix(ZONE) for each in who if each.startswith(ZONE))
        return cls(repo, tuple(each for each in who if not each.startswith(ZONE)), zones)

    def covers(self, repo_id: str) -> bool:
        """Case does not count, as for the Hub."""
        return fnmatchcase(repo_id.lower(), self.repo.lower())

    def names_member(self, name: str, zone: str) -> bool:
        by_name = any(fnmatchcase(name, pattern) for pattern in self.names)
        return by_name or any(fnmatchcase(zone, pattern) for pattern in self.zones)


class AllowList:
    """Repos that no line covers are for everybody; others for whom any of the lines that cover them names."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._lines = tuple(Allowance.parse(line) for line in lines)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def restricts(self, repo_id: str) -> bool:
        return any(line.covers(repo_id) for line in self._lines)

    def allows(self, repo_id: str, name: str, zone: str) -> bool:
        covering = [line for line in self._lines if line.covers(repo_id)]
        return not covering or any(line.names_member(name, zone) for line in covering)
