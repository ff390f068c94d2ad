"""What one member asks another on behalf of a person, as it travels; answers are the API's own types.

Members differ in version: a question that a member does not know it refuses, and a field that is added to a question
or an answer needs a default.
"""

from __future__ import annotations

import msgspec

from distd.api.schema import ModelView
from distd.core.refs import Repo, RepoType, parse_repo, parse_revision
from distd.errors import Problem


class StatusAsked(msgspec.Struct, frozen=True, tag_field="ask", tag="status"):
    """Answered by a StatusView."""


class ModelsAsked(msgspec.Struct, frozen=True, tag_field="ask", tag="models"):
    """Answered by Held."""


class RemoveAsked(msgspec.Struct, frozen=True, tag_field="ask", tag="remove"):
    """Answered by a RemovedView."""

    type: RepoType
    repo: str
    revision: str | None = None


class PinAsked(msgspec.Struct, frozen=True, tag_field="ask", tag="pin"):
    """Answered by a ModelView."""

    type: RepoType
    repo: str
    revision: str | None = None
    pinned: bool = True


class BanAsked(msgspec.Struct, frozen=True, tag_field="ask", tag="ban"):
    """Answered by a BanWord."""

    member: str
    reason: str = ""
    banned: bool = True


class DrainAsked(msgspec.Struct, frozen=True, tag_field="ask", tag="drain"):
    """Answered by a DrainView. `wanted`: out of service or back; null: how it stands."""

    wanted: bool | None = None


Question = StatusAsked | ModelsAsked | RemoveAsked | PinAsked | BanAsked | DrainAsked


class Held(msgspec.Struct, frozen=True):
    """What a member's cache holds; `more`: that was not all."""

    models: tuple[ModelView, ...]
    more: bool = False


class Reply(msgspec.Struct, frozen=True):
    """`value` is the answer of the question's kind in msgpack, or there is a `problem`."""

    value: bytes = b""
    problem: Problem | None = None


def meant(question: RemoveAsked | PinAsked) -> tuple[Repo, str | None]:
    """The repo and revision that a member names, checked as those of a client are. Raises InvalidRequest."""
    repo = parse_repo(question.repo, question.type)
    return repo, None if question.revision is None else parse_revision(question.revision)


def deed_of(question: Question) -> tuple[str, str] | None:
    """What the audit calls it, and what it is about; None for what changes nothing."""
    match question:
        case RemoveAsked():
            return "remove", _about(question)
        case PinAsked(pinned=pinned):
            return "pin" if pinned else "unpin", _about(question)
        case BanAsked(member, banned=banned):
            return "ban" if banned else "unban", member
        case DrainAsked(bool(wanted)):
            return "drain" if wanted else "undrain", ""
    return None


def _about(question: RemoveAsked | PinAsked) -> str:
    return f"{question.repo}@{question.revision}" if question.revision else question.repo
