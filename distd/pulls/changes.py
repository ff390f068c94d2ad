"""What changes in pulls, told to whoever listens: a change of state at once, progress once a second.

Nothing is looked at while nobody listens. A listener that left and comes back within `KEPT_S` has missed nothing.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from distd.api.event_schema import EventReset, ServerEvent
from distd.api.schema import PullView
from distd.core.event_log import EventLog, ResetReason
from distd.core.pull import FINISHED, PullState

PROGRESS_S = 1.0
"""Between two events of a pull whose state stays: as often as a person notices a difference."""
KEPT_S = 60.0
"""For so long after the last listener left events are recorded for its return; browsers come back after seconds."""


class Pulls(Protocol):
    """All pulls of this node, those on several nodes included."""

    def watched_views(self) -> Sequence[PullView]:
        """Unfinished pulls, without files; somebody watches them."""

    def brief(self, pull_id: str) -> PullView:
        """Without files. Raises NotFound."""

    def state_of(self, pull_id: str) -> PullState | None:
        """None for one that is not known (any more)."""


class PullChanges:
    """Implements the API's `Events`. Run `watch` as a task; call `changed` when a pull may be in another state."""

    def __init__(
        self,
        pulls: Callable[[], Pulls],
        log: EventLog | None = None,
        *,
        progress_s: float = PROGRESS_S,
        kept_s: float = KEPT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pulls = pulls
        self._log = log if log is not None else EventLog(secrets.token_hex(4))
        self._progress_s = progress_s
        self._kept_s = kept_s
        self._clock = clock
        self._shown: dict[str, PullView] = {}
        self._touched: set[str] = set()
        self._wake = asyncio.Event()
        self._listeners: set[Listener] = set()
        self._left_at: float | None = None

    def changed(self, pull_id: str) -> None:
        """Cheap, and may be called for anything that happens to a pull."""
        if self._is_recording:
            self._touched.add(pull_id)
            self._wake.set()

    def listen(self, pull_id: str | None, last_event_id: str | None) -> Listener | None:
        """Events of one pull, or of all, after the one that the client had last. `close` it.

        None when nothing will come: the pull has finished and the client knows it. Raises NotFound.
        """
        pulls = self._pulls()
        position = self._log.seq_of(last_event_id)
        if pull_id is not None:
            is_finished = pulls.brief(pull_id).state in FINISHED
            if is_finished and isinstance(position, int) and self._log.next(position, pull_id) is None:
                return None
        if not self._is_recording:
            self._begin_anew()
        listener = Listener(self, pull_id, position)
        self._listeners.add(listener)
        self._wake.set()
        return listener

    async def watch(self) -> None:
        """For ever: records while somebody listens."""
        round_at = 0.0
        while True:
            if not self._is_recording:
                self._begin_anew()
                self._wake.clear()
                await self._wake.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, round_at - self._clock())):
                    await self._wake.wait()
            self._wake.clear()
            touched, self._touched = self._touched, set()
            for pull_id in touched:
                self._look_at(pull_id)
            if self._clock() >= round_at:
                round_at = self._clock() + self._progress_s
                self._look_at_all()

    # For listeners.

    def reset(self, pull_id: str | None, reason: ResetReason) -> tuple[int, ServerEvent, bool]:
        """Everything as it is now, which replaces what a listener knew; its place in the log, and whether more can come."""
        pulls = self._pulls()
        views = pulls.watched_views() if pull_id is None else (pulls.brief(pull_id),)
        data = msgspec.json.encode(EventReset(reason, tuple(views))).decode()
        seq = self._log.last_seq
        is_last = pull_id is not None and views[0].state in FINISHED
        return seq, ServerEvent(self._log.id_of(seq), "reset", data), is_last

    def after(self, seq: int, pull_id: str | None) -> tuple[int, ServerEvent, bool] | None:
        """The next event, as `reset` answers; None when there is none yet. Raises LookupError for a gap."""
        event = self._log.next(seq, pull_id)
        if event is None:
            return None
        is_last = pull_id is not None and event.is_last
        return event.seq, ServerEvent(self._log.id_of(event.seq), event.kind, event.data), is_last

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def left(self, listener: Listener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)
            self._left_at = self._clock()

    # Inside.

    def tell_listeners(self) -> None:
        """There is something new in the log."""
        for listener in self._listeners:
            listener.wake.set()

    @property
    def _is_recording(self) -> bool:
        return bool(self._listeners) or (
            self._left_at is not None and self._clock() - self._left_at < self._kept_s
        )

    def _begin_anew(self) -> None:
        self._log.break_off()
        self._shown.clear()
        self._touched.clear()

    def _look_at_all(self) -> None:
        views = self._pulls().watched_views()
        for view in views:
            self._show(view)
        # Whose end nobody told of must not look unfinished for ever.
        for pull_id in self._shown.keys() - {view.id for view in views}:
            self._look_at(pull_id)
            self._shown.pop(pull_id, None)

    def _look_at(self, pull_id: str) -> None:
        shown = self._shown.get(pull_id)
        state = self._pulls().state_of(pull_id)
        if state is not None and (shown is None or shown.state != state):
            self._show(self._pulls().brief(pull_id))

    def _show(self, view: PullView) -> None:
        if self._shown.get(view.id) == view:
            return
        is_finished = view.state in FINISHED
        if is_finished:
            self._shown.pop(view.id, None)
        else:
            self._shown[view.id] = view
        self._log.append("pull", view.id, msgspec.json.encode(view).decode(), is_last=is_finished)
        self.tell_listeners()


class Listener:
    """Iterate over its events. It holds a place in the log and no events, so a slow one costs no memory."""

    def __init__(self, changes: PullChanges, pull_id: str | None, position: int | ResetReason) -> None:
        self.wake = asyncio.Event()
        self._changes = changes
        self._pull_id = pull_id
        self._position = position
        self._closed = False

    def close(self) -> None:
        """Ends the iteration, also one that waits. Idempotent."""
        self._closed = True
        self.wake.set()
        self._changes.left(self)

    def __aiter__(self) -> AsyncIterator[ServerEvent]:
        return self

    async def __anext__(self) -> ServerEvent:
        """The next event; ends after the last one of a pull that has finished."""
        while not self._closed:
            self.wake.clear()
            if (found := self._look()) is not None:
                self._position, event, self._closed = found
                return event
            await self.wake.wait()
        raise StopAsyncIteration

    def _look(self) -> tuple[int, ServerEvent, bool] | None:
        if isinstance(self._position, str):
            return self._changes.reset(self._pull_id, self._position)
        try:
            return self._changes.after(self._position, self._pull_id)
        except LookupError:
            return self._changes.reset(self._pull_id, "gap")
