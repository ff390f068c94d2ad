"""Files: `/resolve/`, the cache route small files are redirected to, `/raw/`, and the data origin."""

from __future__ import annotations

from urllib.parse import quote

from tests.hub.access import GATE_FREE_FILES, Refusal, check_gate, check_token, check_visible
from tests.hub.hashes import lfs_pointer
from tests.hub.hubstate import HubState
from tests.hub.repo import Repo, RepoFile
from tests.hub.wire import Ask, Reply, Route, file_reply, parse_route, text_reply

EXPOSED = (
    "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,"
    "Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash"
)


def find_file(state: HubState, ask: Ask, route: Route) -> tuple[Repo, str, RepoFile]:
    """Repo, commit id and file of a route, or the Refusal the Hub gives; the gate comes before revision and entry."""
    token = check_token(ask, state.registry)
    repo = check_visible(
        state.registry.get(route.repo_type, route.repo_id),
        token,
        code_on_anonymous_401=state.settings.code_on_anonymous_401,
    )
    if route.path not in GATE_FREE_FILES:
        check_gate(repo, token)
    commit = repo.find(route.revision)
    if commit is None:
        raise Refusal(404, f"Invalid rev id: {route.revision}", "RevisionNotFound")
    file = commit.files.get(route.path)
    if file is None:
        raise Refusal(404, "Entry not found", "EntryNotFound", commit=commit.sha)
    return repo, commit.sha, file


def answer_file(state: HubState, ask: Ask, route: Route) -> Reply:
    """Serves small files (through the cache route unless access is restricted) and sends LFS files elsewhere."""
    repo, sha, file = find_file(state, ask, route)
    common = {"X-Repo-Commit": sha, "Access-Control-Expose-Headers": EXPOSED}
    if route.operation == "raw":
        text = lfs_pointer(file.sha256, file.size_bytes) if file.lfs else file.source
        size_bytes = len(text) if isinstance(text, bytes) else file.size_bytes
        return file_reply(
            ask, text, size_bytes, common | {"ETag": f'"{file.oid}"', "Content-Type": "text/plain"}
        )
    if file.lfs:
        return _to_data_origin(state, ask, repo, sha, file)
    if route.operation == "resolve" and not (repo.gated or repo.private):
        where = f"{quote(repo.id)}/{sha}/{quote(file.path)}"
        query = f"{quote(f'/{repo.id}/resolve/{sha}/{file.path}', safe='')}=&etag=%22{file.oid}%22"
        location = f"/api/resolve-cache/{repo.type}s/{where}?{query}"
        return text_reply(
            307, f"Temporary Redirect. Redirecting to {location}", common | {"Location": location}
        )
    headers = common | {
        "ETag": f'"{file.oid}"',
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(file.path.rsplit('/', 1)[-1])}",
    }
    return file_reply(ask, file.source, file.size_bytes, headers)


def _to_data_origin(state: HubState, ask: Ask, repo: Repo, sha: str, file: RepoFile) -> Reply:
    expires = int(state.clock.now()) + state.settings.url_life_s
    location = ask.data_url + state.signer.sign(repo, file, expires)
    headers = {
        "Location": location,
        "X-Repo-Commit": sha,
        "X-Linked-Size": str(file.size_bytes),
        "X-Linked-Etag": f'"{file.sha256}"',
        "Accept-Ranges": "bytes",
        "Access-Control-Expose-Headers": EXPOSED,
    }
    if state.settings.xet_headers:
        token_url = f"{ask.base_url}/api/{repo.type}s/{repo.id}/xet-read-token/{sha}"
        headers["X-Xet-Hash"] = file.xet_hash
        headers["Link"] = f'<{token_url}>; rel="xet-auth"'
    return text_reply(302, f"Found. Redirecting to {location}", headers)


def answer_data(state: HubState, ask: Ask) -> Reply:
    """The data origin: bytes for a signed URL. Its ETag is the Xet hash, never the SHA-256."""
    if ask.path.startswith("/elsewhere/"):
        return _answer_elsewhere(state, ask)
    _, file = state.signer.open(ask, state.clock.now())
    headers = {
        "ETag": f'"{file.xet_hash}"',
        "Content-Type": "application/octet-stream",
        "Cache-Control": "public, max-age=31536000",
    }
    return file_reply(ask, file.source, file.size_bytes, headers)


def _answer_elsewhere(state: HubState, ask: Ask) -> Reply:
    """Where the fault `foreign_redirect` leads: a stranger that has the file and none of the Hub's headers."""
    route = parse_route(ask.path.removeprefix("/elsewhere"), state.registry.has)
    repo = route and state.registry.get(route.repo_type, route.repo_id)
    commit = repo and route and repo.find(route.revision)
    file = commit and route and commit.files.get(route.path)
    if not file:
        raise Refusal(404, "Not Found")
    return file_reply(ask, file.source, file.size_bytes, {"ETag": f'"{file.xet_hash}"'})
