"""Back-pressure on pieces handed to the engine: how many bytes may be on their way to the disk.

The library's own queue has no bound, so everything handed over is counted here until it is reported
written. Sizes are bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

_Owner = TypeVar("_Owner", bound=Hashable)


@dataclass(frozen=True, slots=True, eq=False)
class _Turn(Generic[_Owner]):
    owner: _Owner
    index: int
    size_bytes: int
    granted: asyncio.Future[None]


class HandOver(Generic[_Owner]):
    """Bytes handed over and not yet written, by owner and piece; callers wait in order of arrival.

    One piece is always let in, however large, so that progress is certain.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._pieces: dict[tuple[_Owner, int], int] = {}
        self._turns: deque[_Turn[_Owner]] = deque()
        self.outstanding_bytes = 0

    def holds(self, owner: _Owner, index: int) -> bool:
        """Whether this piece is handed over and not yet written."""
        return (owner, index) in self._pieces

    async def take(self, owner: _Owner, index: int, size_bytes: int) -> None:
        """Returns when the piece is counted; `written` or `forget` must follow. Cancelling counts nothing.

        Raises what `forget` was given, when the owner goes away while its piece waits.
        """
        if not self._turns and self._fits(size_bytes):
            self._count(owner, index, size_bytes)
            return
        turn = _Turn(owner, index, size_bytes, asyncio.get_running_loop().create_future())
        self._turns.append(turn)
        try:
            await turn.granted
        except asyncio.CancelledError:
            if turn in self._turns:
                self._turns.remove(turn)
            else:  # granted in the same moment: nobody will hand the piece over
                self.written(owner, index)
            raise

    def written(self, owner: _Owner, index: int) -> bool:
        """The piece left the queue; lets the next ones in. False when it had not been handed over."""
        size_bytes = self._pieces.pop((owner, index), None)
        if size_bytes is None:
            return False
        self.outstanding_bytes -= size_bytes
        self._let_in()
        return True

    def forget(self, owner: _Owner, error: Exception) -> None:
        """Drops everything of an owner that went away; its waiting callers get `error`."""
        for key in [key for key in self._pieces if key[0] == owner]:
            self.outstanding_bytes -= self._pieces.pop(key)
        for turn in [turn for turn in self._turns if turn.owner == owner]:
            self._turns.remove(turn)
            if not turn.granted.done():
                turn.granted.set_exception(error)
        self._let_in()

    def _fits(self, size_bytes: int) -> bool:
        return not self._pieces or self.outstanding_bytes + size_bytes <= self._bytes_max

    def _count(self, owner: _Owner, index: int, size_bytes: int) -> None:
        if (owner, index) not in self._pieces:
            self._pieces[owner, index] = size_bytes
            self.outstanding_bytes += size_bytes

    def _let_in(self) -> None:
        while self._turns and (self._turns[0].granted.done() or self._fits(self._turns[0].size_bytes)):
            turn = self._turns.popleft()
            if not turn.granted.done():  # a cancelled one leaves the queue by itself
                self._count(turn.owner, turn.index, turn.size_bytes)
                turn.granted.set_result(None)
