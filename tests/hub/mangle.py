"""What faults do to a good answer before its body is sent. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from tests.hub.faults import Rule
from tests.hub.wire import Ask, Content, Reply, text_reply

EVIL_BYTES = 4
"""Size of the file that a `traversal` entry pretends to be."""


def arrival_reply(rule: Rule, ask: Ask) -> Reply | None:
    """The answer a fault gives in place of the Hub's; None for faults that are not an answer."""
    match rule.name:
        case "status":
            return text_reply(rule["status"], f"injected {rule['status']}")
        case "rate_limited":
            retry_s = rule["retry_s"]
            if rule["retry_after"]:
                return text_reply(429, "Too Many Requests", {"Retry-After": str(retry_s)})
            limit = {
                "RateLimit": f'"api";r=0;t={retry_s}',
                "RateLimit-Policy": '"fixed window";"api";q=500;w=300',
            }
            return text_reply(429, "Too Many Requests", limit)
        case "expired_url":
            return text_reply(403, "Request has expired")
        case "redirect_loop":
            return text_reply(302, "Found", {"Location": ask.target})
        case "foreign_redirect":
            return text_reply(302, "Found", {"Location": f"{ask.data_url}/elsewhere{ask.target}"})
        case _:
            return None


def mangle_tree(reply: Reply, rules: Iterable[Rule], ask: Ask) -> None:
    """Changes the entries of a tree page, or its link to the next page."""
    for rule in rules:
        match rule.name:
            case "traversal":
                evil = {"type": "file", "oid": "0" * 40, "size": EVIL_BYTES, "path": rule["entry"]}
                reply.data = [*reply.data, evil]
            case "size_lie":
                reply.data = [_lie_about_size(entry, rule) for entry in reply.data]
            case "wrong_oid":
                reply.data = [_lie_about_hash(entry, rule) for entry in reply.data]
            case "duplicate_paths":
                reply.data = [*reply.data, *(entry for entry in reply.data if _meant(entry, rule))]
            case "endless_pages":
                reply.headers["Link"] = f'<{ask.base_url}{ask.target}>; rel="next"'
            case "foreign_next_page":
                reply.headers["Link"] = f'<{ask.data_url}/elsewhere{ask.target}>; rel="next"'


def mangle_json(reply: Reply, rules: Iterable[Rule]) -> None:
    """Cuts or pads a rendered JSON answer, its Content-Length agreeing."""
    for rule in rules:
        assert reply.content is not None
        text = reply.content.source
        assert isinstance(text, bytes)
        text = text[: max(1, len(text) // 2)] if rule.name == "malformed_json" else text.ljust(rule["size"])
        reply.content = Content(text, 0, len(text))


def mangle_headers(reply: Reply, rules: Iterable[Rule]) -> None:
    for rule in rules:
        if rule.name == "no_commit":
            reply.headers.pop("X-Repo-Commit", None)
        else:
            name = "X-Linked-Etag" if "X-Linked-Etag" in reply.headers else "ETag"
            reply.headers[name] = f'"{rule["etag"]}"'


def _meant(entry: dict[str, Any], rule: Rule) -> bool:
    return entry["type"] == "file" and fnmatchcase(entry["path"], rule["only"])


def _lie_about_size(entry: dict[str, Any], rule: Rule) -> dict[str, Any]:
    if not _meant(entry, rule):
        return entry
    lie = {**entry, "size": entry["size"] + rule["delta"]}
    if "lfs" in entry:
        lie["lfs"] = {**entry["lfs"], "size": entry["lfs"]["size"] + rule["delta"]}
    return lie


def _lie_about_hash(entry: dict[str, Any], rule: Rule) -> dict[str, Any]:
    if not _meant(entry, rule):
        return entry
    lie = {**entry, "oid": entry["oid"][::-1]}
    if "lfs" in entry:
        lie["lfs"] = {**entry["lfs"], "oid": entry["lfs"]["oid"][::-1]}
    return lie
