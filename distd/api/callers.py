"""Who a client is: the user behind the unix socket, the holder of the token, or only an address."""

from __future__ import annotations

import asyncio
import pwd
import socket
import struct
from functools import lru_cache

from aiohttp import web

from distd.api.access import ACCESS, is_unix

HOLDER = "api-token"
"""Whoever has the content of `api.token_file`; there is one token, so it names no person."""
USERS_REMEMBERED = 256
_CREDENTIALS = struct.Struct("3i")
"""`struct ucred`: process, user, group. The kernel fills it in when the client connects; nobody can claim another."""


async def caller(request: web.Request) -> str:
    """A name for the audit; call it once the request was let in."""
    if is_unix(request):
        raw = request.get_extra_info("socket").getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
        )
        _, uid, _ = _CREDENTIALS.unpack(raw)
        return await asyncio.to_thread(_user, uid)  # names may come from a directory server
    if request.app[ACCESS].token:
        return HOLDER
    return f"somebody at {request.remote}"


@lru_cache(maxsize=USERS_REMEMBERED)
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
