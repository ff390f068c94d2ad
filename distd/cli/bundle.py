"""`distctl doctor --bundle`: what somebody who helps needs to know, in one archive, with secrets taken out."""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable
from importlib import metadata
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from distd import __version__
from distd.cli.client import Client, pull_path
from distd.cli.failures import CommandFailed
from distd.redaction import redacted

if TYPE_CHECKING:
    from distd.cli.diagnosis import Finding
    from distd.config import Config

PULLS_MAX = 100
STORIES_MAX = 20
"""Of the newest pulls: what one asks for help about happened lately."""
STORY_LINES_MAX = 500
LOG_LINES_MAX = 5000
COMMAND_S = 20.0
SECRET_FILE_BYTES_MAX = 4096
FILE_MODE = 0o600

_COMMANDS: dict[str, list[str]] = {
    "log.txt": ["journalctl", "--unit=distd", "--no-pager", f"--lines={LOG_LINES_MAX}", "--output=short-iso"],
    "unit.txt": ["systemctl", "show", "--no-pager", "distd"],
    "drop-ins.txt": ["systemctl", "cat", "--no-pager", "distd"],
    "listening.txt": ["ss", "-ltn"],
    "filesystems.txt": ["df", "-hT"],
    "clock.txt": ["timedatectl", "show"],
}
"""Name in the archive -> what prints it. One that is not there, or fails, leaves a line that says so."""
_ANSWERS = {
    "status.json": "/v1/status",
    "peers.json": "/v1/peers",
    "models.json": "/v1/models",
    "pulls.json": f"/v1/pulls?limit={PULLS_MAX}",
}
_SECRET_VARIABLES = ("TOKEN", "SECRET", "PASSWORD", "KEY")
"""An environment variable with one of these in its name is a secret as a whole."""


def write_bundle(path: str, client: Client, findings: Iterable[Finding]) -> list[str]:
    """Makes the archive (tar, gzip), readable by its owner alone; returns the names in it.

    Raises OSError: FileExistsError for a file that is there. Whatever cannot be had leaves its reason in its place.
    """
    config = _config()
    secrets = known_secrets(config)
    parts = {
        "findings.json": _json([found.as_dict() for found in findings]),
        "host.txt": _host(),
        "config.toml": _config_text(config),
        **{name: _answer(client, route) for name, route in _ANSWERS.items()},
        **_stories(client),
        **{name: _output(words) for name, words in _COMMANDS.items()},
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in parts.items():
            content = redacted(text, secrets).encode("utf-8", "backslashreplace")
            entry = tarfile.TarInfo(f"distd-doctor/{name}")
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return list(parts)


def known_secrets(config: Config | None) -> set[str]:
    """Everything that is a secret here and that this user can read: from the environment and the files named."""
    found = {
        value.strip()
        for name, value in os.environ.items()
        if any(word in name.upper() for word in _SECRET_VARIABLES)
    }
    directories = (os.environ.get("CREDENTIALS_DIRECTORY", ""), "/etc/distd/credentials")
    files = {os.path.join(directory, name) for directory in directories for name in _names(directory)}
    if config is not None:
        files |= {config.hub.token_file, config.api.token_file, config.cluster.secret_file}
    files.add(os.environ.get("HF_TOKEN_PATH", ""))
    for path in files - {""}:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                found |= {line.strip() for line in file.read(SECRET_FILE_BYTES_MAX).splitlines()}
        except OSError:
            continue  # what this user cannot read is in none of the texts it can
    return {each for each in found if each and each != "none"}


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory) if directory else []
    except OSError:
        return []


def _config() -> Config | None:
    from distd.config import ConfigError, load_config

    try:
        return load_config()
    except ConfigError:
        return None  # the findings say what is wrong


def _config_text(config: Config | None) -> str:
    from distd.config.show import config_as_toml

    return "# not valid: see findings.json\n" if config is None else config_as_toml(config)


def _host() -> str:
    lines = [
        f"distctl {__version__}, Python {sys.version.split()[0]}, {platform.platform()}",
        f"{os.cpu_count()} processors, uid {os.getuid()}, groups {os.getgroups()}",
        *(
            f"{name} {metadata.version(name)}"
            for name in ("aiohttp", "huggingface-hub", "libtorrent", "msgspec")
        ),
    ]
    proxies = [name for name in os.environ if name.lower().endswith("_proxy")]
    lines += [f"{name}={os.environ[name]}" for name in sorted(proxies)]
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            lines.append(file.read(4096))
    except OSError as error:
        lines.append(f"/etc/os-release: {error.strerror}")
    return "\n".join(lines) + "\n"


def _answer(client: Client, route: str) -> str:
    try:
        return _json(client.get(route))
    except CommandFailed as error:
        return f"{error}\n"


def _stories(client: Client) -> dict[str, str]:
    try:
        pulls = list(client.items("/v1/pulls", limit=STORIES_MAX))
    except CommandFailed:
        return {}  # pulls.json says why
    return {
        f"stories/{quote(pull['id'], safe='')}.json": _answer(
            client, pull_path(pull["id"], f"/story?limit={STORY_LINES_MAX}")
        )
        for pull in pulls
    }


def _output(words: list[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, timeout=COMMAND_S, check=False)  # noqa: S603  # one of _COMMANDS
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{' '.join(words)}: {error}\n"
    return (done.stdout + done.stderr).decode("utf-8", "replace") or f"{' '.join(words)}: nothing\n"


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"
