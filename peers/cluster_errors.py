"""What can go wrong between members. ``retryable`` says whether the same call may succeed later as things stand."""

from __future__ import annotations


class ClusterError(Exception):
    """A call to a member did not bring an answer."""

    retryable = False


class ListenRefused(ClusterError):
    """The daemon cannot or must not listen on ``address``. Choose another, or give the cluster a secret."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return f"cluster.listen: cannot listen on {self.address}: {self.reason}"


class MemberUnknown(ClusterError):
    """No live member has this name."""

    retryable = True

    def __init__(self, member: str) -> None:
        super().__init__(member)
        self.member = member

    def __str__(self) -> str:
        return f"no live member of the cluster is called {self.member!r}"


class MemberBanned(ClusterError):
    """This daemon does not talk with the member, by its operator's word or on evidence."""

    def __init__(self, member: str, reason: str) -> None:
        super().__init__(member, reason)
        self.member = member
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.member} is banned here ({self.reason}); distctl peers unban lets it back"


class MemberUnreachable(ClusterError):
    """No answer, or half of one: refused connection, timeout, cut stream. Whether the call was carried out is unknown."""

    retryable = True

    def __init__(self, member: str, reason: str) -> None:
        super().__init__(member, reason)
        self.member = member
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.member} cannot be reached: {self.reason}"


class AuthFailed(ClusterError):
    """The two ends do not share a secret, or someone between them alters what they say. Nothing was carried out when
    ``refused``; otherwise the answer could not be believed."""

    def __init__(self, member: str, reason: str, refused: bool) -> None:
        super().__init__(member, reason, refused)
        self.member = member
        self.reason = reason
        self.refused = refused

    def __str__(self) -> str:
        return f"{self.member}: {self.reason}"


class ClocksDiffer(ClusterError):
    """The member refused because its clock is ``skew_s`` behind ours (ahead when negative)."""

    retryable = True

    def __init__(self, member: str, skew_s: float) -> None:
        super().__init__(member, skew_s)
        self.member = member
        self.skew_s = skew_s

    def __str__(self) -> str:
        direction = "behind" if self.skew_s > 0 else "ahead of"
        return (
            f"the clock of {self.member} is {abs(self.skew_s):.0f} s {direction} this host's (clock_skew): members refuse each"
            " other; synchronise the one that is off by NTP (distctl doctor tells which)"
        )


class CallRefused(ClusterError):
    """The member understood and said no. A handler raises it to refuse; ``code`` is stable, ``detail`` for people.

    Codes of the transport itself: ``not_found`` (no such call), ``too_large``, ``wire_version``, ``busy``,
    ``name_taken``, ``banned``, ``internal``.
    """

    def __init__(self, code: str, detail: str = "", retryable: bool = False, member: str = "") -> None:
        super().__init__(code, detail, retryable, member)
        self.code = code
        self.detail = detail
        self.retryable = retryable
        self.member = member

    def __str__(self) -> str:
        told = f"{self.member} refused: {self.code}" if self.member else f"refused: {self.code}"
        return f"{told} ({self.detail})" if self.detail else told


class LimitExceeded(ClusterError):
    """A body or stream is longer than ``limit_bytes``; what came before was within it."""

    def __init__(self, member: str, limit_bytes: int) -> None:
        super().__init__(member, limit_bytes)
        self.member = member
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return f"more than {self.limit_bytes} bytes to or from {self.member}"
