"""Event streams over HTTP: what changes in pulls, as server-sent events.

The only importer of aiohttp_sse, which writes events and keep-alive comments, and gives up a client that does not read.
Streams are few, hold no events of their own, and end with the daemon and with the token that they were opened with.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp_sse import sse_response

from distd.api.answers import Route
from distd.api.bodies import only_parameters
from distd.api.ports import Events, Listener
from distd.api.problems import Refused

STREAMS_MAX = 256
"""Open at a time: a dashboard on every screen of an operations room, and room for those that a crashed client left."""
RETRY_AFTER_S = 15
"""After so long a place may be free: a client that is gone is noticed at the next keep-alive."""
KEEP_ALIVE_S = 15.0
"""A comment on a stream that is silent: proxies end what is silent for 30 to 60 s."""
SEND_TIMEOUT_S = 10.0
"""For a client that does not take what it is sent; then its connection is cut. It may come back to where it was."""


class EventRoutes:
    def __init__(
        self, events: Events, *, streams_max: int = STREAMS_MAX, send_timeout_s: float = SEND_TIMEOUT_S
    ) -> None:
        self._events = events
        self._streams_max = streams_max
        self._send_timeout_s = send_timeout_s
        self._open: set[Listener] = set()

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/v1/events", self.all, "what changes in pulls, as server-sent events"),
            Route("GET", "/v1/pulls/{id}/events", self.of_pull, "what changes in one pull, until its end"),
        ]

    def end_all(self) -> None:
        """Ends every stream after the event that it is sending."""
        for listener in tuple(self._open):
            listener.close()

    async def all(self, request: web.Request) -> web.StreamResponse:
        return await self._stream(request, None)

    async def of_pull(self, request: web.Request) -> web.StreamResponse:
        return await self._stream(request, request.match_info["id"])

    async def _stream(self, request: web.Request, pull_id: str | None) -> web.StreamResponse:
        only_parameters(request)
        if len(self._open) >= self._streams_max:
            detail = f"{self._streams_max} event streams are open already, which is all there may be"
            raise Refused(429, "rate_limited", detail, {"Retry-After": str(RETRY_AFTER_S)})
        listener = self._events.listen(pull_id, request.headers.get("Last-Event-ID"))
        if listener is None:
            return web.Response(status=204)  # tells an EventSource not to come back
        self._open.add(listener)
        try:
            if request.method == "HEAD":
                return web.Response(content_type="text/event-stream")
            return await self._send(request, listener)
        finally:
            self._open.discard(listener)
            listener.close()

    async def _send(self, request: web.Request, listener: Listener) -> web.StreamResponse:
        async with sse_response(
            request, sep="\n", ping_interval=KEEP_ALIVE_S, send_timeout=self._send_timeout_s
        ) as stream:
            # A client that is gone shows at a keep-alive, while this waits for an event.
            gone = asyncio.create_task(stream.wait())
            gone.add_done_callback(lambda _: listener.close())
            try:
                async for event in listener:
                    await stream.send(event.data, id=event.id, event=event.kind)
            except (ConnectionError, TimeoutError):
                pass  # it left, or did not read
        return stream
