"""Snapshots that come and go another way than by pulls, over HTTP: as one file, and from a cache that is there.

Out with POST, because it gives content away.
"""

from __future__ import annotations

import logging
from contextlib import aclosing

from aiohttp import web

from distd.api.answers import Route, answer
from distd.api.bodies import json_body, only_parameters
from distd.api.housekeeping_schema import AdoptRequest
from distd.api.model_routes import repo_of, revision_of
from distd.api.ports import Adoption, Archives
from distd.errors import DistdError, InvalidRequest

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20


class ArchiveRoutes:
    def __init__(self, archives: Archives, adoption: Adoption) -> None:
        self._archives = archives
        self._adoption = adoption

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
            Route("POST", "/v1/adopt", self.adopt, "take over a Hugging Face cache on this machine", "adopt"),
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
        # The status is sent with the first byte: only a body that ends too early can tell the client what comes now. And
        # nothing may be raised, because the answer about an error would be taken for the rest of the file.
        try:
            # Closed here and not by whoever collects garbage: until then its file stays open.
            async with aclosing(found.content) as parts:
                async for part in parts:
                    await response.write(part)
            await response.write_eof()
        except ConnectionError:
            log.info("%s: the client left in the middle of the export", found.name)
        except DistdError as error:
            log.error("%s: the export broke off: %s", found.name, error)
        except Exception:
            log.exception("%s: the export broke off", found.name)
        else:
            return response
        if request.transport is not None:
            request.transport.abort()  # at once: what is not sent yet would wait for a client that does not read
        return response

    async def import_(self, request: web.Request) -> web.Response:
        only_parameters(request)
        try:
            told = await self._archives.import_(request.content.iter_chunked(CHUNK_BYTES))
        except ConnectionError as error:
            log.info("the client left in the middle of an import")
            raise InvalidRequest("the file ends in the middle: the client left") from error  # heard by nobody
        return answer(told, status=201)

    async def adopt(self, request: web.Request) -> web.Response:
        only_parameters(request)
        wanted = await json_body(request, AdoptRequest)
        return answer(await self._adoption.adopt(wanted.path, may_copy=wanted.copy))
