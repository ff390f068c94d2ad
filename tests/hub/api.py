"""The API: what the Hub says about repos. Shapes and error rows follow the real Hub's answers."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tests.hub.access import Refusal, check_gate, check_token, check_visible, passes_gate
from tests.hub.hubstate import HubState
from tests.hub.repo import Commit, Repo, RepoFile
from tests.hub.wire import Ask, Reply, Route, text_reply

MASK = "*" * 64
"""What a gated repo's hashes look like to who has not passed the gate."""

FIRST_COMMIT = datetime(2026, 1, 1, tzinfo=UTC)
"""Commits are a minute apart from here on, so that the same repo has the same dates everywhere."""


def answer_api(state: HubState, ask: Ask, route: Route) -> Reply:
    """Dispatches an API route; raises the Refusal where the Hub refuses."""
    match route.operation:
        case "/api/agent-harnesses":
            return Reply(data={})
        case "/api/whoami-v2":
            return _whoami(state, ask)
        case operation if operation.startswith("/"):
            raise Refusal(404, "Not Found")
    token = check_token(ask, state.registry)
    repo = check_visible(
        state.registry.get(route.repo_type, route.repo_id),
        token,
        code_on_anonymous_401=state.settings.code_on_anonymous_401,
    )
    if route.repo_id != repo.id:
        # Only the path names the repo: the query may carry the same text.
        path, _, query = ask.target.partition("?")
        location = path.replace(f"/{route.repo_id}", f"/{repo.id}", 1) + (f"?{query}" if query else "")
        return text_reply(307, f"Temporary Redirect. Redirecting to {location}", {"Location": location})
    match route.operation:
        case "auth-check":
            check_gate(repo, token)
            return text_reply(200, "OK")
        case "refs":
            return Reply(data=_refs(repo, pull_requests=ask.flag("include_prs")))
        case "xet-read-token":
            raise Refusal(404, "Not Found")
    commit = repo.find(route.revision or "main")
    if commit is None:
        raise Refusal(404, f"Invalid rev id: {route.revision}", "RevisionNotFound")
    view = _View(state, repo, commit, masked=not passes_gate(repo, token))
    match route.operation:
        case "tree":
            return view.tree(ask, route.path)
        case "paths-info":
            return view.paths_info(ask)
        case "commits":
            return _page(ask, view.commits(), state.settings.page_size)
        case _:
            return Reply(data=view.info(ask))


def _whoami(state: HubState, ask: Ask) -> Reply:
    name = state.registry.user(ask.token)
    if name is None:
        raise Refusal(401, "Invalid username or password.")
    access = {"accessToken": {"displayName": "test", "role": "read"}, "type": "access_token"}
    return Reply(
        data={"type": "user", "id": name, "name": name, "fullname": name, "orgs": [], "auth": access}
    )


def _refs(repo: Repo, *, pull_requests: bool) -> dict[str, Any]:
    def ref(name: str, full: str, sha: str) -> dict[str, str]:
        return {"name": name, "ref": full, "targetCommit": sha}

    answer = {
        "branches": [ref(name, f"refs/heads/{name}", sha) for name, sha in repo.branches.items()],
        "converts": [ref(name, f"refs/convert/{name}", sha) for name, sha in repo.converts.items()],
        "tags": [ref(name, f"refs/tags/{name}", sha) for name, sha in repo.tags.items()],
    }
    if pull_requests:
        answer["pullRequests"] = [
            ref(str(number), f"refs/pr/{number}", sha) for number, sha in repo.pull_requests.items()
        ]
    return answer


def _page(ask: Ask, items: Sequence[Any], page_size: int) -> Reply:
    """One page of `items`, with an absolute `Link: rel="next"` while there are more."""
    query = ask.query
    cursor = query.get("cursor", "")
    begin = int(base64.urlsafe_b64decode(cursor)) if cursor else 0
    limit = query.get("limit", "")
    end = begin + (min(int(limit), page_size) if limit.isdecimal() and int(limit) else page_size)
    reply = Reply(data=list(items[begin:end]))
    if end < len(items):
        pairs = [pair for pair in parse_qsl(ask.target.partition("?")[2]) if pair[0] != "cursor"]
        pairs.append(("cursor", base64.urlsafe_b64encode(str(end).encode()).decode()))
        reply.headers["Link"] = f'<{ask.base_url}{ask.path}?{urlencode(pairs)}>; rel="next"'
    return reply


def _date(commit: Commit) -> str:
    return (FIRST_COMMIT + timedelta(minutes=commit.number)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class _View:
    """One commit as one caller sees it."""

    def __init__(self, state: HubState, repo: Repo, commit: Commit, *, masked: bool) -> None:
        self._settings = state.settings
        self._repo = repo
        self._commit = commit
        self._masked = masked

    def tree(self, ask: Ask, path: str) -> Reply:
        """Files and directories below `path`, directories included when recursive, as the Hub lists them."""
        prefix = f"{path.strip('/')}/" if path.strip("/") else ""
        below = [file for name, file in self._commit.files.items() if name.startswith(prefix)]
        if prefix and not below:
            raise Refusal(
                404,
                f"{path} does not exist on revision {self._commit.sha}",
                "EntryNotFound",
                commit=self._commit.sha,
            )
        expand = ask.flag("expand")
        entries: dict[str, dict[str, Any]] = {}
        for file in below:
            parts = file.path[len(prefix) :].split("/")
            for depth in range(1, len(parts) if ask.flag("recursive") else min(len(parts), 2)):
                directory = prefix + "/".join(parts[:depth])
                entries.setdefault(directory, self._directory(directory, expand=expand))
            if len(parts) == 1 or ask.flag("recursive"):
                entries[file.path] = self._file(file, expand=expand)
        page_size = self._settings.expand_page_size if expand else self._settings.page_size
        return _page(ask, [entries[name] for name in sorted(entries)], page_size)

    def paths_info(self, ask: Ask) -> Reply:
        """Entries of the paths asked for; those that do not exist are left out."""
        expand = ("expand", "true") in [(name, value.lower()) for name, value in ask.form]
        answer = []
        for path in [value for name, value in ask.form if name == "paths"]:
            file = self._commit.files.get(path)
            if file is not None:
                answer.append(self._file(file, expand=expand))
            elif any(name.startswith(f"{path}/") for name in self._commit.files):
                answer.append(self._directory(path, expand=expand))
        return Reply(data=answer)

    def commits(self) -> list[dict[str, Any]]:
        history = []
        commit: Commit | None = self._commit
        while commit is not None:
            authors = [{"user": "tester"}]
            history.append(
                {
                    "id": commit.sha,
                    "title": commit.title,
                    "message": "",
                    "authors": authors,
                    "date": _date(commit),
                }
            )
            commit = self._repo.commits[commit.parent] if commit.parent else None
        return history

    def info(self, ask: Ask) -> dict[str, Any]:
        """The repo's description; `blobs` adds sizes and hashes to the siblings, under other names than the tree's."""
        repo = self._repo
        blobs = ask.flag("blobs")
        answer: dict[str, Any] = {
            "_id": repo.oid,
            "id": repo.id,
            "author": repo.id.partition("/")[0] if "/" in repo.id else None,
            "sha": self._commit.sha,
            "lastModified": _date(self._commit),
            "createdAt": FIRST_COMMIT.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "private": repo.private,
            "gated": repo.gated,
            "disabled": repo.disabled,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "cardData": {},
            "usedStorage": sum(file.size_bytes for file in self._commit.files.values()),
            "siblings": [self._sibling(file, blobs=blobs) for file in self._commit.files.values()],
        }
        if repo.type == "model":
            answer |= {"modelId": repo.id, "config": {}, "spaces": []}
        wanted = [
            value for name, value in parse_qsl(ask.target.partition("?")[2]) if name.startswith("expand")
        ]
        if wanted:
            answer = {name: value for name, value in answer.items() if name in (*wanted, "_id", "id")}
        return answer

    def _sibling(self, file: RepoFile, *, blobs: bool) -> dict[str, Any]:
        sibling: dict[str, Any] = {"rfilename": file.path}
        if blobs:
            sibling |= {"size": file.size_bytes, "blobId": file.oid}
        if blobs and file.lfs:
            sha256 = MASK if self._masked else file.sha256
            sibling["lfs"] = {"sha256": sha256, "size": file.size_bytes, "pointerSize": file.pointer_bytes}
        return sibling

    def _file(self, file: RepoFile, *, expand: bool) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "oid": file.oid, "size": file.size_bytes}
        if file.lfs:
            sha256 = MASK if self._masked else file.sha256
            entry["lfs"] = {"oid": sha256, "size": file.size_bytes, "pointerSize": file.pointer_bytes}
            if self._settings.xet_headers:
                entry["xetHash"] = MASK if self._masked else file.xet_hash
        return entry | {"path": file.path} | (self._expanded() if expand else {})

    def _directory(self, path: str, *, expand: bool) -> dict[str, Any]:
        oid = hashlib.sha1(f"{self._commit.sha}:{path}".encode()).hexdigest()
        return {"type": "directory", "oid": oid, "size": 0, "path": path} | (
            self._expanded() if expand else {}
        )

    def _expanded(self) -> dict[str, Any]:
        last = {"id": self._commit.sha, "title": self._commit.title, "date": _date(self._commit)}
        security = {"status": "safe", "avScan": None, "pickleImportScan": None}
        return {"lastCommit": last, "securityFileStatus": security}
