"""What a client sends, as schema values: JSON bodies and query strings, validated and bounded.

Words of the validator are completed with what would have been right: the nearest field name, the
allowed values.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from aiohttp import web

from distd.api.problems import Refused
from distd.errors import InvalidRequest

BODY_BYTES_MAX = 1024 * 1024
"""Largest request body. The longest sensible one, 200 globs of 1,000 characters, is a fifth of it."""

T = TypeVar("T")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_FIELD = re.compile(r"at `\$\.(\w+)`")


async def json_body(request: web.Request, kind: type[T]) -> T:
    """The body as `kind`. Raises Refused (413 too large, 400 not JSON) and InvalidRequest (wrong content)."""
    announced = request.content_length
    if announced is not None and announced > BODY_BYTES_MAX:
        raise Refused(413, "invalid_request", f"the body has {announced} bytes; at most {BODY_BYTES_MAX}")
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused(413, "invalid_request", f"the body has over {BODY_BYTES_MAX} bytes") from None
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_explained(str(error), kind)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, "invalid_request", f"the body is not JSON: {error}") from None


def query_as(
    request: web.Request, kind: type[T], repeatable: Collection[str], besides: Collection[str] = ()
) -> T:
    """The query string as `kind`, without `besides`; fields in `repeatable` collect their values. Raises InvalidRequest."""
    values: dict[str, Any] = {}
    for name in request.query.keys() - besides:
        values[name] = request.query.getall(name) if name in repeatable else _single(request, name)
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_explained(str(error), kind)) from None


def query_value(request: web.Request, name: str) -> str | None:
    """One parameter of the query. Raises InvalidRequest when it is given twice or empty."""
    if name not in request.query:
        return None
    value = _single(request, name)
    if not value:
        raise InvalidRequest(f"the parameter {name} is empty")
    return value


def only_parameters(request: web.Request, *names: str) -> None:
    """Raises InvalidRequest for a parameter that the route does not know, suggesting the nearest."""
    for name in request.query:
        if name not in names:
            raise InvalidRequest(f"unknown parameter {name!r}{_suggestion(name, names)}")


def _single(request: web.Request, name: str) -> str:
    values = request.query.getall(name)
    if len(values) > 1:
        raise InvalidRequest(f"the parameter {name} is given {len(values)} times")
    return values[0]


def _explained(message: str, kind: type[Any]) -> str:
    hints = get_type_hints(kind)
    if unknown := _UNKNOWN_FIELD.match(message):
        return f"unknown field {unknown[1]!r}{_suggestion(unknown[1], hints)}"
    field = _FIELD.search(message)
    if field and message.startswith("Invalid enum value"):
        return f"{message}: one of {', '.join(_literals(hints[field[1]]))}"
    return message


def _literals(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    return [value for part in get_args(hint) for value in _literals(part)]


def _suggestion(name: str, known: Collection[str]) -> str:
    if nearest := difflib.get_close_matches(name, known, n=1):
        return f": did you mean {nearest[0]!r}?"
    return f": known are {', '.join(known)}" if known else ": this route takes none"
