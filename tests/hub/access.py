"""Who may see what, and the exact words of each refusal (huggingface_hub maps them to exceptions by code and text)."""

from __future__ import annotations

from dataclasses import dataclass

from tests.hub.repo import Registry, Repo
from tests.hub.wire import Ask, Reply, text_reply

GATE_FREE_FILES = frozenset({"README.md", "LICENSE", "LICENSE.md", "LICENSE.txt"})
"""Files at the root of a gated repo that anyone may read."""


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """An answer other than the asked one. `code` is empty where the Hub sends none."""

    status: int
    message: str
    code: str = ""
    commit: str = ""
    challenge: bool = False

    def reply(self, *, as_json: bool) -> Reply:
        """API routes answer JSON, files plain text."""
        headers = {"X-Error-Message": self.message}
        if self.code:
            headers["X-Error-Code"] = self.code
        if self.commit:
            headers["X-Repo-Commit"] = self.commit
        if self.challenge:
            headers["WWW-Authenticate"] = 'Bearer realm="Authentication required", charset="UTF-8"'
        if as_json:
            return Reply(self.status, headers, {"error": self.message})
        return text_reply(self.status, self.message, headers)


def check_token(ask: Ask, registry: Registry) -> str | None:
    """The caller's token, None for an anonymous one. A token the Hub does not know is refused even on public repos."""
    if ask.headers.get("Authorization") and registry.user(ask.token) is None:
        raise Refusal(401, "Invalid credentials in Authorization header")
    return ask.token


def check_visible(repo: Repo | None, token: str | None, *, code_on_anonymous_401: bool) -> Repo:
    """A private repo looks missing to who may not read it; a disabled one is refused to everyone."""
    if repo is None or (repo.private and token not in repo.readers):
        if token is None:
            code = "RepoNotFound" if code_on_anonymous_401 else ""
            raise Refusal(401, "Invalid username or password.", code)
        raise Refusal(404, "Repository not found", "RepoNotFound")
    if repo.disabled:
        raise Refusal(403, "Access to this resource is disabled.")
    return repo


def passes_gate(repo: Repo, token: str | None) -> bool:
    return not repo.gated or token in repo.readers


def check_gate(repo: Repo, token: str | None) -> None:
    if passes_gate(repo, token):
        return
    restricted = f"Access to {repo.type} {repo.id} is restricted"
    if token is None:
        raise Refusal(
            401,
            f"{restricted}. You must have access to it and be authenticated to access it. Please log in.",
            "GatedRepo",
            challenge=True,
        )
    if token in repo.pending:
        message = f"Your request to access {repo.type} {repo.id} is awaiting a review from the repo authors."
        raise Refusal(403, message, "GatedRepo")
    message = f"{restricted} and you are not in the authorized list. Visit /{repo.id} to ask for access."
    raise Refusal(403, message, "GatedRepo")
