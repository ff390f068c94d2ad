"""Where the Hub token comes from, read anew so that a rotated file takes effect without a restart."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from distd.errors import InvalidRequest

TOKEN_BYTES_MAX = 4096
"""Hub tokens have 37 characters; a larger file is not a token."""


def hub_token_source(
    token_file: str, environment: Mapping[str, str] | None = None
) -> Callable[[], str | None]:
    """A function that returns the token at each call, or None for anonymous access.

    The first of: `hub.token_file`, `$CREDENTIALS_DIRECTORY/hf-token` (systemd), `$HF_TOKEN`,
    `$HF_TOKEN_PATH`. The content `none` stands for no token (a unit's fallback credential).
    """
    environment = os.environ if environment is None else environment
    credentials = environment.get("CREDENTIALS_DIRECTORY")

    def read() -> str | None:
        if token_file:
            return read_token(token_file)
        if credentials and os.path.exists(f"{credentials}/hf-token"):
            return read_token(f"{credentials}/hf-token")
        if environment.get("HF_TOKEN"):
            return environment["HF_TOKEN"].strip().partition("\n")[0].strip() or None
        path = environment.get("HF_TOKEN_PATH")
        return read_token(path) if path and os.path.exists(path) else None

    return read


def read_token(path: str) -> str | None:
    """The first line of a token file; None when it is empty or says `none`. Raises InvalidRequest."""
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read(TOKEN_BYTES_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the token file {path} cannot be read: {error}") from error
    if len(text) > TOKEN_BYTES_MAX:
        raise InvalidRequest(f"the token file {path} is larger than {TOKEN_BYTES_MAX} bytes: not a token")
    token = text.split("\n", 1)[0].strip()
    return None if token in ("", "none") else token
