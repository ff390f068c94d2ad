"""What an answer for a span means: deliver it, or which fault it is. Pure; offsets and sizes are bytes.

Two kinds of server answer. The Hub (the endpoint's own origin) vouches for commit and hash in its headers; a data
server behind a signed URL has headers of its own (its ETag is the Xet hash), and only lengths are compared there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from distd.core.faults import FaultKind, FetchFault
from distd.core.manifest import ManifestFile, is_etag
from distd.core.refs import Repo
from distd.errors import DistdError, HashMismatch, HubUnreachable, RateLimited
from distd.hub.headers import bare_etag, parse_content_range, parse_length
from distd.hub.ratelimit import WAIT_S_UNTOLD, wait_s
from distd.hub.refusals import Asked, refusal


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as the Hub has it: what to ask for, and what the answers are held against."""

    repo: Repo
    commit: str
    file: ManifestFile


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes [start, end) of a file."""

    start: int
    end: int

    @property
    def size_bytes(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Source:
    """Who answered: `host` names it to people; on the Hub's own origin `is_hub`."""

    endpoint: str
    host: str
    is_hub: bool
    authenticated: bool

    def fault(self, kind: FaultKind, detail: str, error: DistdError | None = None) -> FetchFault:
        """A fault of this server; `detail` continues the sentence that begins with its name."""
        sentence = f"{self.host} {detail}"
        return FetchFault(kind, sentence, error or HubUnreachable(self.endpoint, sentence))


def vouched(source: Source, headers: Mapping[str, str], remote: RemoteFile) -> FetchFault | None:
    """The fault if the Hub's headers contradict the manifest; what they leave out is no contradiction.

    Holds for redirects and final answers of the Hub. An `ETag` that is no hash at all (a plain web server's) says
    nothing; `X-Linked-Etag` always speaks for the file.
    """
    file = remote.file
    commit = headers.get("X-Repo-Commit", remote.commit)
    if commit != remote.commit:
        error = HashMismatch(file.path, f"commit {remote.commit}", f"commit {commit}")
        return source.fault(
            FaultKind.WRONG_ETAG, f"answers for commit {commit} instead of {remote.commit}", error
        )
    etag = bare_etag(headers.get("X-Linked-Etag", ""))
    if not etag and is_etag(plain := bare_etag(headers.get("ETag", ""))):
        etag = plain
    if etag and etag != file.etag:
        error = HashMismatch(file.path, file.etag, etag)
        return source.fault(FaultKind.WRONG_ETAG, f"now names the hash {etag} instead of {file.etag}", error)
    linked_bytes = parse_length(headers.get("X-Linked-Size", ""))
    if linked_bytes is not None and linked_bytes != file.size_bytes:
        return _wrong_length(source, file, linked_bytes)
    return None


def refused(
    source: Source, status: int, headers: Mapping[str, str], remote: RemoteFile, now_unix: float
) -> FetchFault:
    """The fault of an answer that carries no content: any status but 200, 206 and a redirect."""
    if status == 429:
        told_s = wait_s(headers, now_unix)
        error = RateLimited(source.endpoint, WAIT_S_UNTOLD if told_s is None else told_s)
        return FetchFault(
            FaultKind.RATE_LIMITED, f"{source.host} limits our requests", error, error.retry_after_s
        )
    if status == 416:
        return source.fault(
            FaultKind.WRONG_LENGTH,
            f"has no such range of {remote.file.path}: its copy is shorter than {remote.file.size_bytes} bytes",
            HashMismatch(remote.file.path, f"{remote.file.size_bytes} bytes", "fewer"),
        )
    detail = f"answered {status} for {remote.file.path}"
    if status not in (401, 403, 404, 410):
        return source.fault(FaultKind.SERVER_ERROR, detail)
    asked = Asked(source.endpoint, remote.repo, remote.commit, source.authenticated, remote.file.path)
    kind = FaultKind.DENIED if status in (401, 403) else FaultKind.GONE
    # A data server's headers are not the Hub's words, and must not pass for them.
    return source.fault(kind, detail, refusal(asked, status, headers if source.is_hub else {}))


def content_fault(
    source: Source, status: int, headers: Mapping[str, str], remote: RemoteFile, span: Span
) -> FetchFault | None:
    """The fault if a 200 or 206 does not bring the span's bytes first and in order; None: read on.

    A 200 for a span that begins at 0 is right as far as it goes: read the span and stop.
    """
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        return source.fault(
            FaultKind.CUT, f"sent {remote.file.path} encoded as {encoding[:40]}, which was not asked for"
        )
    size_bytes = remote.file.size_bytes
    length = parse_length(headers.get("Content-Length", ""))
    if status == 200:
        if length is not None and length != size_bytes:
            return _wrong_length(source, remote.file, length)
        if span.start > 0:
            return source.fault(FaultKind.RANGE_IGNORED, f"ignores ranges of {remote.file.path}")
        return None
    sent = parse_content_range(headers.get("Content-Range", ""))
    if sent is None:
        return source.fault(
            FaultKind.WRONG_LENGTH,
            f"sent a part of {remote.file.path} without saying which",
            HashMismatch(remote.file.path, f"bytes {span.start}-{span.end - 1}", "an unnamed part"),
        )
    if sent.total is not None and sent.total != size_bytes:
        return _wrong_length(source, remote.file, sent.total)
    if (
        sent.start != span.start
        or sent.end > span.end
        or (length is not None and length != sent.end - sent.start)
    ):
        return source.fault(
            FaultKind.WRONG_LENGTH,
            f"sent another part of {remote.file.path} than was asked for",
            HashMismatch(
                remote.file.path,
                f"bytes {span.start}-{span.end - 1}",
                f"bytes {sent.start}-{sent.end - 1}" + (f" in {length} bytes" if length is not None else ""),
            ),
        )
    return None


def surplus(source: Source, remote: RemoteFile, span: Span) -> FetchFault:
    """The fault of a body that goes on after the span's end."""
    return source.fault(
        FaultKind.WRONG_LENGTH,
        f"sent more of {remote.file.path} than was asked for",
        HashMismatch(remote.file.path, f"{span.size_bytes} bytes from {span.start}", "more"),
    )


def _wrong_length(source: Source, file: ManifestFile, actual_bytes: int) -> FetchFault:
    return source.fault(
        FaultKind.WRONG_LENGTH,
        f"has {actual_bytes} bytes of {file.path} instead of {file.size_bytes}",
        HashMismatch(file.path, f"{file.size_bytes} bytes", f"{actual_bytes} bytes"),
    )
