"""The cluster secret: what makes a daemon a member. One file, the same on every member.

The file holds one or two lines. The first signs requests and keys new swarms; both are accepted. To rotate, add the new
secret as second line everywhere, then swap the lines everywhere, then drop the old one: at every moment each member
accepts what the others sign with. Empty lines do not count.
"""

from __future__ import annotations

import math
import os
import secrets
import stat
from collections import Counter
from dataclasses import dataclass, field

SECRETS_MAX = 2
"""The one in use and the one that comes or goes; more would be secrets that nobody takes back."""

SECRET_CHARS_MIN = 32
"""What 128 bits take in hexadecimal."""

SECRET_ENTROPY_BITS_MIN = 100.0
"""By the frequency of its characters, which tells passwords and repetitions from random text: 32 random hexadecimal
digits come to about 120 bits. A stranger can try guesses against recorded requests, so a passphrase is not enough."""

SECRET_FILE_BYTES_MAX = 4096
"""A file longer than this is not a secret file; it is not read to its end."""

_GENERATED_BYTES = 32


class SecretUnusable(Exception):
    """The secret file cannot be used. The text says what to do; until then trying again does not help."""

    retryable = False

    def __init__(self, path: str, reason: str, advice: str) -> None:
        super().__init__(path, reason, advice)
        self.path = path
        self.reason = reason
        self.advice = advice

    def __str__(self) -> str:
        return (
            f"the secret file {self.path} cannot be used (cluster.secret_file): {self.reason}; {self.advice}"
        )


@dataclass(frozen=True, slots=True)
class Secret:
    """``accepted`` are one or two secrets, the signing one first; tell ``warnings`` to people."""

    accepted: tuple[bytes, ...] = field(repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def signing(self) -> bytes:
        return self.accepted[0]


LOOPBACK_SECRET = Secret((b"distd loopback cluster: anybody on this host may take part",))
"""Stands for "no secret": known to everybody, so it proves nothing. Only for listeners that no other host reaches."""


def generate() -> str:
    """A new secret of 256 bits as one line of text, without the line's end."""
    return secrets.token_urlsafe(_GENERATED_BYTES)


def parse(text: str, path: str) -> Secret:
    """Read the content of the file at ``path``. Raises SecretUnusable."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise SecretUnusable(path, "it is empty", "write one with `distctl cluster init`")
    if len(lines) > SECRETS_MAX:
        raise SecretUnusable(
            path,
            f"it has {len(lines)} lines",
            "keep the secret in use and at most one other, each on its line",
        )
    for number, line in enumerate(lines, start=1):
        weakness = _weakness(line)
        if weakness:
            raise SecretUnusable(
                path,
                f"line {number} {weakness}",
                "make one with `distctl cluster init` or `openssl rand -hex 32`",
            )
    return Secret(tuple(line.encode() for line in lines))


def read(path: str) -> Secret:
    """Read and judge the secret file, its permissions included. Raises SecretUnusable."""
    try:
        # Without blocking: opening a pipe by mistake must not hang the daemon's start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SecretUnusable(
            path, error.strerror or str(error), "let it exist and be readable by the daemon's user"
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SecretUnusable(path, "it is not a regular file", "name a file that holds the secret")
        warnings = _permission_warnings(path, stat.S_IMODE(status.st_mode))
        content = os.read(descriptor, SECRET_FILE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(content) > SECRET_FILE_BYTES_MAX:
        raise SecretUnusable(
            path, f"it is longer than {SECRET_FILE_BYTES_MAX} bytes", "name a file of one or two lines"
        )
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        raise SecretUnusable(
            path, "it is not plain ASCII text", "make one with `distctl cluster init`"
        ) from error
    return Secret(parse(text, path).accepted, warnings)


def _permission_warnings(path: str, mode: int) -> tuple[str, ...]:
    """Everybody's file is refused, as by ssh; a group's is what service managers hand out, so it is only told."""
    shown = f"{mode:04o}"
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise SecretUnusable(
            path, f"others than its owner can read or change it (mode {shown})", f"run `chmod 600 {path}`"
        )
    if mode & stat.S_IRGRP:
        return (
            f"the secret file {path} can be read by its group (mode {shown}); `chmod 600 {path}` ends that",
        )
    return ()


def _weakness(line: str) -> str:
    """Why the line is no secret, or an empty string."""
    if len(line) < SECRET_CHARS_MIN:
        return f"has {len(line)} characters of at least {SECRET_CHARS_MIN}"
    counts = Counter(line)
    entropy_bits = -sum(count * math.log2(count / len(line)) for count in counts.values())
    if entropy_bits < SECRET_ENTROPY_BITS_MIN:
        return "repeats itself too much to be random"
    return ""
