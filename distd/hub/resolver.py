"""Refs to manifests: asks the Hub which commit a ref names and which files that commit has.

The only importer of huggingface_hub, and only in its threads when the Hub is first asked: loading it takes 300 ms and
22 MiB that a starting daemon does not spend. Nothing is written to HF_HOME. Times are seconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from distd.core.manifest import Manifest, ManifestFile, checked_files
from distd.core.refs import Ref, is_commit
from distd.errors import AccessDenied, DistdError, HubUnreachable, RateLimited
from distd.hub.headers import bearer
from distd.hub.network import proxy_for, tls_context
from distd.hub.ratelimit import WAIT_S_UNTOLD
from distd.hub.refusals import Asked, gated, refusal
from distd.hub.urls import origin

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from distd.hub.metadata import HubClient

THREADS_MAX = 4
"""Questions to the Hub at once. Each takes a second or two; its quota, not this, limits a fleet."""

_XET_HASH = re.compile(r"[0-9a-f]{64}")
_T = TypeVar("_T")


class Resolver:
    """Asks one endpoint. `token` is called for every question, so that a rotated token takes effect.

    `give_up_after_s` bounds how long one request is repeated; a wait that the Hub names and that is longer ends it
    at once. `ca_file` adds authorities to the system's; proxies come from the environment. `on_response` is called on the
    event loop with the status of each answer, 0 for a request that got none. Call `close` at the end.
    Raises ValueError for an endpoint that is no http or https URL.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        token: Callable[[], str | None],
        user_agent: str,
        ca_file: str | None = None,
        give_up_after_s: float = 15.0,
        on_response: Callable[[int], None] | None = None,
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        origin(self.endpoint)
        self._token = token
        self._user_agent = user_agent
        self._ca_file = ca_file
        self._give_up_after_s = give_up_after_s
        self._on_response = on_response
        self._statuses: deque[int] = deque()
        self._pool = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="hub-metadata")
        self._lock = threading.Lock()
        self._client: HubClient | None = None
        self._closed = False
        self.clock_skew_s: float | None = None
        """The Hub's clock minus this host's at the last `check`, to a second; None when it did not tell."""

    async def resolve(self, ref: Ref) -> Manifest:
        """The commit that `ref` names now, and its files. The manifest's repo is the one asked for, also if renamed.

        Raises RepoNotFound, RevisionNotFound, AccessDenied (gated, disabled, bad token); UnsafePath for a file list
        that is refused; RateLimited and HubUnreachable, which are worth another try; InvalidRequest for a token, CA
        file or proxy that cannot be used.
        """
        return await self._in_thread(lambda: self._resolve(ref))

    async def commit(self, ref: Ref) -> str:
        """Only the commit that `ref` names now: one request, none for a commit. Raises as `resolve`."""
        return (
            ref.revision if is_commit(ref.revision) else await self._in_thread(lambda: self._ask_commit(ref))
        )

    async def prepare(self) -> None:
        """Imports the Hub's library (0.3 s of CPU) ahead of the first question. Idempotent."""
        await self._in_thread(self._open_client)
        await self._in_thread(lambda: self._api(None))

    async def check(self) -> str:
        """Asks the Hub who we are: one sentence for `distctl doctor`. Raises AccessDenied for a token that the Hub
        does not accept, else as `resolve`."""
        return await self._in_thread(self._check)

    async def close(self) -> None:
        """Ends questions with HubUnreachable: those between two requests at once, others when the Hub's answer or
        its silence does. Idempotent."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            client.close()
        self._pool.shutdown(wait=False)

    async def _in_thread(self, question: Callable[[], _T]) -> _T:
        if self._closed:
            raise HubUnreachable(self.endpoint, "the client was closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, question)
        finally:
            self._tell_statuses()

    def _tell_statuses(self) -> None:
        """Of all questions so far: their threads only append, and who counts need not be thread-safe."""
        while self._statuses:
            status = self._statuses.popleft()
            if self._on_response:
                self._on_response(status)

    def _open_client(self) -> HubClient:
        from distd.hub.metadata import HubClient

        with self._lock:
            if self._closed:
                raise HubUnreachable(self.endpoint, "the client was closed")
            if self._client is None:
                self._client = HubClient(
                    self.endpoint,
                    user_agent=self._user_agent,
                    tls=tls_context(self._ca_file),
                    proxy=proxy_for(self.endpoint),
                    give_up_after_s=self._give_up_after_s,
                    on_response=self._statuses.append,
                )
            return self._client

    def _resolve(self, ref: Ref) -> Manifest:
        def question(api: HfApi, asked: Asked) -> Manifest:
            commit = ref.revision if is_commit(ref.revision) else _commit(api, ref)
            return Manifest(ref.repo, commit, checked_files(_files(api, ref, commit, asked)))

        return self._ask(ref, question)

    def _ask_commit(self, ref: Ref) -> str:
        return self._ask(ref, lambda api, _: _commit(api, ref))

    def _ask(self, ref: Ref, question: Callable[[HfApi, Asked], _T]) -> _T:
        """The answer to a question about `ref`, or the error that `resolve` tells of."""
        from huggingface_hub.errors import HfHubHTTPError

        from distd.hub.metadata import BadAnswer, TryAgain, calling

        token = self._token()
        bearer(token)
        asked = Asked(self.endpoint, ref.repo, ref.revision, authenticated=bool(token))
        api = self._api(token)
        try:
            with calling(self._open_client()):
                return question(api, asked)
        except HfHubHTTPError as error:
            raise refusal(asked, error.response.status_code, error.response.headers) from error
        except TryAgain as error:
            raise self._gave_up(error) from error
        except BadAnswer as error:
            raise HubUnreachable(self.endpoint, str(error)) from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            # huggingface_hub takes the answer's shape for granted, and these are what it then stumbles over.
            reason = f"its answer for {ref} is malformed ({type(error).__name__}: {str(error)[:200]})"
            raise HubUnreachable(self.endpoint, reason) from error

    def _api(self, token: str | None) -> HfApi:
        from huggingface_hub import HfApi, constants, set_client_factory

        from distd.hub.metadata import install

        # Off before the first request: it would ask the Hub for a list of agents and write that into HF_HOME.
        constants.HF_HUB_DISABLE_TELEMETRY = True
        # Its warnings (no token, slow retries) go to stderr past our logging; its errors are raised, too.
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        install(set_client_factory)
        # False and not None, which would look for a token in HF_HOME.
        return HfApi(endpoint=self.endpoint, token=token or False, headers={"user-agent": self._user_agent})

    def _check(self) -> str:
        from distd.hub.metadata import BadAnswer, TryAgain

        token = self._token()
        asked_at = time.time()
        try:
            answer = self._open_client().get(f"{self.endpoint}/api/whoami-v2", bearer(token))
        except TryAgain as error:
            raise self._gave_up(error) from error
        except BadAnswer as error:
            raise HubUnreachable(self.endpoint, str(error)) from error
        self.clock_skew_s = _skew_s(answer.headers.get("date"), (asked_at + time.time()) / 2)
        if not token:
            return f"{self.endpoint} answers; without a token it shows only what is public"
        if answer.status_code == 401:
            raise AccessDenied(
                self.endpoint,
                "the Hub does not accept the token",
                f"Replace it (hub.token_file): {self.endpoint}/settings/tokens makes a new one.",
            )
        return f"{self.endpoint} answers; {_owner(answer.content)}"

    def _gave_up(self, error: Exception) -> DistdError:
        from distd.hub.metadata import TryAgain

        assert isinstance(error, TryAgain)
        if error.status == 429:
            return RateLimited(self.endpoint, WAIT_S_UNTOLD if error.told_s is None else error.told_s)
        return HubUnreachable(self.endpoint, error.reason)


def _commit(api: HfApi, ref: Ref) -> str:
    sha = api.repo_info(ref.repo.id, repo_type=ref.repo.type, revision=ref.revision).sha
    if not isinstance(sha, str) or not is_commit(sha):
        raise ValueError(f"{sha!r} is not a commit")
    return sha


def _files(api: HfApi, ref: Ref, commit: str, asked: Asked) -> Iterator[ManifestFile]:
    from huggingface_hub.hf_api import RepoFile

    for entry in api.list_repo_tree(ref.repo.id, repo_type=ref.repo.type, revision=commit, recursive=True):
        if not isinstance(entry, RepoFile):
            continue
        etag = entry.lfs.sha256 if entry.lfs is not None else entry.blob_id
        if isinstance(etag, str) and etag and not etag.strip("*"):
            raise gated(asked)
        size_bytes = entry.lfs.size if entry.lfs is not None else entry.size
        if not (isinstance(entry.path, str) and isinstance(etag, str) and isinstance(entry.blob_id, str)):
            raise TypeError("a file's path or hash is not a string")
        if type(size_bytes) is not int:
            raise TypeError(f"the size of {entry.path!r} is {size_bytes!r}")
        xet_hash = entry.xet_hash if _XET_HASH.fullmatch(entry.xet_hash or "") else None
        yield ManifestFile(entry.path, size_bytes, etag, entry.blob_id, xet_hash)


def _skew_s(date: str | None, now: float) -> float | None:
    """`date` is an HTTP date, which has whole seconds: half of one is what it was late on average."""
    try:
        return parsedate_to_datetime(date or "").timestamp() + 0.5 - now
    except ValueError:
        return None


def _owner(body: bytes) -> str:
    """Whose token it is. A mirror may not know the route, which is no fault."""
    try:
        name = json.loads(body)["name"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "it does not say whose token this is"
    return f"the token belongs to {name}" if isinstance(name, str) else "it does not say whose token this is"
