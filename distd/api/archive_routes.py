"""Snapshots as one file over HTTP: out with POST, because it gives content away, and in."""

from __future__ import annotations

from aiohttp import web

from distd.api.answers import Route, answer
from distd.api.bodies import only_parameters
from distd.api.model_routes import repo_of, revision_of
from distd.api.ports import Archives

CHUNK_BYTES = 1 << 20


class ArchiveRoutes:
    def __init__(self, archives: Archives) -> None:
        self._archives = archives

    def routes(self) -> list[Route]:
        one = "/v1/models/{type}/{org}/{name}"
        return [
            Route(
                "POST",
                one + "/export",
                self.export,
                "the snapshot at ?revision= (main) as one tar file",
                "export",
            ),
            Route("POST", "/v1/import", self.import_, "take in such a file, verify and publish it", "import"),
        ]

    async def export(self, request: web.Request) -> web.StreamResponse:
        found = await self._archives.export(repo_of(request), revision_of(request) or "main")
        response = web.StreamResponse(
            headers={
                "Content-Type": "application/x-tar",
                "Content-Disposition": f'attachment; filename="{found.name}"',
            }
        )
        response.content_length = found.size_bytes
        await response.prepare(request)
        async for part in found.content:
            await response.write(part)
        await response.write_eof()
        return response

    async def import_(self, request: web.Request) -> web.Response:
        only_parameters(request)
        return answer(await self._archives.import_(request.content.iter_chunked(CHUNK_BYTES)), status=201)
