"""The Hub's refusals (4xx) as the errors of this project.

The Hub tells by status and `X-Error-Code`; huggingface_hub recognises a bare 401 only on https URLs, so the mapping
is made here, for metadata and data alike. The cases and their texts: huggingface_hub utils/_http.py
`hf_raise_for_status`, and recordings of the Hub for gated, private and missing repos.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from distd.core.refs import Repo
from distd.errors import (
    AccessDenied,
    DistdError,
    FileNotFound,
    HubUnreachable,
    RepoNotFound,
    RevisionNotFound,
)
from distd.hub.urls import repo_url

MESSAGE_LENGTH_MAX = 300
"""The Hub's sentences have under 200 characters; what is longer is a page of HTML."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, and of whom: the facts that a refusal has to name. `path` is None for metadata."""

    endpoint: str
    repo: Repo
    revision: str
    authenticated: bool
    path: str | None = None


def refusal(asked: Asked, status: int, headers: Mapping[str, str]) -> DistdError:
    """The error of a 4xx answer. `headers` must look names up regardless of case."""
    code = headers.get("X-Error-Code", "")
    message = headers.get("X-Error-Message", "")[:MESSAGE_LENGTH_MAX].strip()
    repo = str(asked.repo)
    if code == "GatedRepo":
        return gated(asked, message)
    if asked.path is not None and (code == "EntryNotFound" or (code == "" and status in (404, 410))):
        return FileNotFound(repo, asked.revision, asked.path)
    if code in ("RevisionNotFound", "EntryNotFound"):
        return RevisionNotFound(repo, asked.revision)
    if status == 403 and "disabled" in message.lower():
        return AccessDenied(
            repo,
            message,
            f"The Hub took it out of service for everyone; {repo_url(asked.endpoint, asked.repo)} may say why.",
        )
    if code == "RepoNotFound" or status in (404, 410) or (status == 401 and not asked.authenticated):
        return RepoNotFound(repo, asked.endpoint, asked.authenticated)
    if status == 401:
        return AccessDenied(
            repo,
            f"the Hub does not accept the token ({message or 'status 401'})",
            f"Replace it (hub.token_file): {asked.endpoint.rstrip('/')}/settings/tokens makes a new one.",
        )
    if status == 403:
        return AccessDenied(
            repo,
            message or "the Hub answered 403",
            "Give the daemon a token (hub.token_file) that may read this repository; a fine-grained one needs the"
            f" permission for it: {asked.endpoint.rstrip('/')}/settings/tokens.",
        )
    return HubUnreachable(asked.endpoint, f"it answered {status}{': ' + message if message else ''}")


def gated(asked: Asked, message: str = "") -> AccessDenied:
    """A gate that this token does not pass; also when the tree shows hashes as asterisks."""
    page = repo_url(asked.endpoint, asked.repo)
    if "awaiting" in message:
        advice = f"Wait for the authors' answer, or ask them at {page}."
    elif asked.authenticated:
        advice = f"Ask for access at {page} with the account of the daemon's token."
    else:
        advice = f"Ask for access at {page}, then give the daemon a token of that account (hub.token_file)."
    return AccessDenied(
        str(asked.repo), message or "it is gated and shows its hashes only to those let in", advice
    )
