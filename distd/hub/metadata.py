"""One metadata request to the Hub: bounded, repeated while that helps, and kept on the Hub's own origin.

huggingface_hub sends everything through one process-wide client, does not repeat the revision call, repeats others
for minutes and without bound on their answers, and sends the token wherever a page's next link points. So it gets a
client (`SharedClient`) that hands each request to the `Call` of the thread it runs in, and what must hold for every
request holds there. Imported lazily, by `resolver` alone, because httpx2 is costly to load. Times are seconds.
"""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import tenacity

from distd.core.manifest import FILES_MAX
from distd.hub.ratelimit import wait_s
from distd.hub.urls import origin, shown

SILENCE_S = 10.0
"""Longest wait for a connection and for the next bytes of an answer; huggingface_hub's own default."""

ANSWER_S_MAX = 60.0
"""Longest whole answer. One page of a tree has 400 kB: slower than that is no usable link."""

BODY_BYTES_MAX = 64 * 2**20
"""Largest decoded answer. Repo information with 100,000 file names has about 10 MB."""

REDIRECTS_MAX = 5
"""The Hub needs one, to a repo's new name."""

REQUESTS_MAX = FILES_MAX // 50
"""Requests of one call: the smallest page a Hub serves has 50 entries."""

BACKOFF_S_FIRST = 0.25
BACKOFF_S_MAX = 5.0
"""Between repetitions without a told time, before spreading: short, because a person waits for the first answer."""

SPREAD_S = 0.5
"""Added at random to told times, so that a fleet told the same second does not come back in it."""


class TryAgain(Exception):
    """The Hub did not answer, or not now. `status` is None when there was no answer, `told_s` the wait it named."""

    def __init__(self, reason: str, status: int | None = None, told_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.told_s = told_s


class BadAnswer(Exception):
    """The Hub answered what no Hub answers, or cannot be trusted to be the Hub; the message says in which way."""


class HubClient:
    """Requests to one endpoint. Thread-safe; `close` ends waits between repetitions at once.

    `on_response` is called in the asking thread, with the status of each answer or 0 where there was none.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        user_agent: str,
        tls: ssl.SSLContext,
        proxy: str | None,
        give_up_after_s: float,
        on_response: Callable[[int], None],
    ) -> None:
        self._origin = origin(endpoint)
        self._give_up_after_s = give_up_after_s
        self._on_response = on_response
        self._closed = threading.Event()
        self._client = httpx2.Client(
            verify=tls,
            proxy=proxy,
            trust_env=False,
            timeout=SILENCE_S,
            headers={"User-Agent": user_agent},
        )

    def close(self) -> None:
        self._closed.set()
        self._client.close()

    def send(self, request: httpx2.Request) -> httpx2.Response:
        """The answer, read whole; below 500 and not 408 or 429.

        Raises TryAgain after `give_up_after_s`, or at once when the Hub names a longer wait; BadAnswer.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TryAgain),
            wait=_next_wait_s,
            stop=tenacity.stop_before_delay(self._give_up_after_s)
            | tenacity.stop_when_event_set(self._closed),
            sleep=tenacity.sleep_using_event(self._closed),
            reraise=True,
        )
        return retrying(self._send_once, request)

    def get(self, url: str, headers: dict[str, str]) -> httpx2.Response:
        return self.send(self._client.build_request("GET", url, headers=headers))

    def _send_once(self, request: httpx2.Request) -> httpx2.Response:
        # huggingface_hub passes no timeout for pages of a tree, which would mean to wait for ever.
        request.extensions = {**request.extensions, "timeout": httpx2.Timeout(SILENCE_S).as_dict()}
        try:
            response, body = self._follow(request)
        except httpx2.TransportError as error:
            _refuse_bad_certificate(error)
            raise TryAgain(_reason(error)) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise BadAnswer(f"its answer is not readable ({type(error).__name__})") from error
        except RuntimeError as error:
            if not self._closed.is_set():
                raise
            raise TryAgain("the client was closed") from error
        status = response.status_code
        if status in (408, 429) or status >= 500:
            raise TryAgain(f"it answered {status}", status, wait_s(response.headers, time.time()))
        headers = [
            (name, value) for name, value in response.headers.multi_items() if name != "content-encoding"
        ]
        return httpx2.Response(status, headers=headers, content=body, request=response.request)

    def _follow(self, request: httpx2.Request) -> tuple[httpx2.Response, bytes]:
        """The answer at the end of the redirects (a renamed repo has one). By hand, so that no body is unbounded."""
        for _hop in range(REDIRECTS_MAX + 1):
            self._check_origin(str(request.url))
            try:
                response = self._client.send(request, stream=True, follow_redirects=False)
            except httpx2.TransportError:
                self._on_response(0)
                raise
            self._on_response(response.status_code)
            try:
                if response.next_request is None:
                    return response, self._read(response)
                request = response.next_request
            finally:
                response.close()
        raise BadAnswer(f"it redirects more than {REDIRECTS_MAX} times")

    def _read(self, response: httpx2.Response) -> bytes:
        deadline = time.monotonic() + ANSWER_S_MAX
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise BadAnswer(f"its answer is larger than {BODY_BYTES_MAX} bytes")
            if time.monotonic() > deadline or self._closed.is_set():
                raise TryAgain(
                    f"its answer was not complete after {ANSWER_S_MAX:.0f} s, or when the client was closed"
                )
        return bytes(body)

    def _check_origin(self, url: str) -> None:
        if origin(url) != self._origin:
            scheme, host, port = self._origin
            raise BadAnswer(
                f"it sends its API on to another server, {shown(url)}, which is not trusted with the token or the"
                f" hashes; name that server as hub.endpoint if it is the Hub ({scheme}://{host}:{port} is set)"
            )


class Call:
    """The requests of one question to the Hub: a bounded number, none twice."""

    def __init__(self, client: HubClient) -> None:
        self._client = client
        self._asked: set[str] = set()

    def send(self, request: httpx2.Request) -> httpx2.Response:
        url = str(request.url)
        if url in self._asked:
            raise BadAnswer("the pages of its file list go in a circle")
        if len(self._asked) >= REQUESTS_MAX:
            raise BadAnswer(f"its file list has more than {REQUESTS_MAX} pages")
        self._asked.add(url)
        return self._client.send(request)


class SharedClient(httpx2.Client):
    """What huggingface_hub takes for its client: each thread's requests go through that thread's `Call`.

    Threads without one (other users of huggingface_hub in this process) get an ordinary client.
    """

    def __init__(self) -> None:
        super().__init__(follow_redirects=True, timeout=None)  # as huggingface_hub's own

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        call: Call | None = getattr(_thread, "call", None)
        return super().send(request, **options) if call is None else call.send(request)


_thread = threading.local()
_install_lock = threading.Lock()
_installed = False


def install(set_client_factory: Callable[[Callable[[], httpx2.Client]], None]) -> None:
    """Makes huggingface_hub use `SharedClient`; idempotent, from any thread."""
    global _installed
    with _install_lock:
        if not _installed:
            set_client_factory(SharedClient)
            _installed = True


@contextmanager
def calling(client: HubClient) -> Iterator[None]:
    """Inside, this thread's use of huggingface_hub is one `Call` through `client`."""
    _thread.call = Call(client)
    try:
        yield
    finally:
        _thread.call = None


def _next_wait_s(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    told_s = error.told_s if isinstance(error, TryAgain) else None
    if told_s is not None:
        return told_s + random.uniform(0, SPREAD_S)
    backoff_s = min(BACKOFF_S_FIRST * 2 ** (state.attempt_number - 1), BACKOFF_S_MAX)
    return random.uniform(backoff_s / 2, backoff_s)


def _refuse_bad_certificate(error: BaseException) -> None:
    """Raises BadAnswer if a certificate was refused: time does not cure that."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise BadAnswer(
                f"its TLS certificate was refused: {cause.verify_message}; if a private authority signed it, name"
                " that authority's file as hub.ca_file"
            ) from error
        cause = cause.__cause__ or cause.__context__


def _reason(error: httpx2.TransportError) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return f"no answer within {SILENCE_S:.0f} s"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
