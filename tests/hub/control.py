"""Steering a Hub that runs in another process: `/_hub/...` on the Hub's origin and on the control port.

Arguments and answers are JSON objects. Requests here are not counted and meet no faults.

    GET    /_hub/counters[?last=N]    the counters and the last N requests        DELETE resets them
    GET    /_hub/faults               the rules    POST {name, on, path, ...} adds one    DELETE[?id=] removes
    POST   /_hub/repos                {id, dir, type, private, gated, disabled, readers, pending}
    PATCH  /_hub/repos                {id, type, private, gated, disabled, readers, pending, tags, refs, renamed_to}
    POST   /_hub/commits              {id, type, files: {path: file on disk or null}, ref}
    POST   /_hub/tokens               {token, user}
    PATCH  /_hub/settings             fields of Settings
    POST   /_hub/clock                {advance_s}
    POST   /_hub/away                 {seconds}    DELETE brings the Hub back
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.hub.hubstate import Settings
from tests.hub.repo import Repo

if TYPE_CHECKING:
    from tests.hub.server import HubServer


class Control:
    def __init__(self, hub: HubServer) -> None:
        self._hub = hub

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """400 names what is wrong with the arguments, 404 an unknown route."""
        body = await request.json() if request.can_read_body else {}
        try:
            answer = await self._run(request.method, request.path, dict(request.query) | body)
        except (KeyError, ValueError, TypeError, LookupError, OSError) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)
        if answer is None:
            return web.json_response({"error": f"no {request.method} {request.path}"}, status=404)
        return web.json_response(answer)

    async def _run(self, method: str, path: str, args: dict[str, Any]) -> dict[str, Any] | None:
        hub = self._hub
        match method, path.removeprefix("/_hub/"):
            case "GET", "counters":
                return hub.counters.as_json(int(args.get("last", 100)))
            case "DELETE", "counters":
                hub.counters.reset()
            case "GET", "faults":
                return {"faults": [rule.as_json() for rule in hub.faults.rules]}
            case "POST", "faults":
                return {"id": hub.faults.add(**args).id}
            case "DELETE", "faults" if "id" in args:
                return {"removed": hub.faults.remove(int(args["id"]))}
            case "DELETE", "faults":
                hub.faults.clear()
            case "POST", "repos":
                repo = hub.add_repo(args.pop("id"), Path(args.pop("dir")), **args)
                return {"sha": repo.head}
            case "PATCH", "repos":
                self._change_repo(hub.repo(args.pop("id"), args.pop("type", "model")), args)
            case "POST", "commits":
                files = {name: Path(file) if file else None for name, file in args["files"].items()}
                repo = hub.repo(args["id"], args.get("type", "model"))
                return {"sha": repo.commit(files, ref=args.get("ref", "main"))}
            case "POST", "tokens":
                hub.add_token(args["token"], args["user"])
            case "PATCH", "settings":
                self._change_settings(args)
            case "POST", "clock":
                hub.advance(args["advance_s"])
            case "POST", "away":
                hub.vanish(args.get("seconds"))
            case "DELETE", "away":
                await hub.come_back()
            case _:
                return None
        return {}

    def _change_repo(self, repo: Repo, changes: dict[str, Any]) -> None:
        for name, value in changes.items():
            match name:
                case "private" | "gated" | "disabled":
                    setattr(repo, name, value)
                case "readers" | "pending":
                    setattr(repo, name, set(value))
                case "tags":
                    for tag, revision in value.items():
                        repo.tag(tag, revision)
                case "refs":
                    for ref, sha in value.items():
                        repo.set_ref(ref, sha)
                case "renamed_to":
                    self._hub.rename(repo.id, value, type=repo.type)
                case _:
                    raise ValueError(f"a repo has no {name!r}")

    def _change_settings(self, changes: dict[str, Any]) -> None:
        for name, value in changes.items():
            if name not in Settings.__dataclass_fields__:
                raise ValueError(f"no setting {name!r}")
            setattr(self._hub.settings, name, value)
