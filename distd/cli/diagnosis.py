"""What `distctl doctor` looks at: the daemon from outside, the configuration, the disk.

Each check adds findings and none ends the others. What the daemon sees best, such as its disk and
whether the Hub answers it, the daemon tells in `GET /v1/doctor`.
"""

from __future__ import annotations

import errno
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from distd import __version__
from distd.cli.client import HUB_TIMEOUT_S, Client
from distd.cli.failures import CommandFailed, DaemonUnreachable
from distd.cli.text import size

if TYPE_CHECKING:
    from distd.config import Config


@dataclass(frozen=True, slots=True)
class Finding:
    """As the API's: `fix` says what to do, and is empty when all is well."""

    name: str
    outcome: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def diagnose(client: Client) -> list[Finding]:
    """All findings, in the order in which one would look."""
    findings: list[Finding] = []
    status = _daemon(client, findings)
    if status is not None:
        findings += [_version(status), *_readiness(client)]
    config = _configuration(findings)
    if status is not None:
        cache = status["cache"]
        findings.append(_filesystem(cache["hub_dir"], cache["store_dir"], daemon_runs=True))
        findings += _readable(cache["hub_dir"])
    elif config is not None:
        findings.append(_filesystem(config.hub_dir, config.store_dir, daemon_runs=False))
        findings.append(_disk(config))
        findings += _ports(config)
    if status is not None:
        findings += _daemon_findings(client)
    return findings


def _daemon(client: Client, findings: list[Finding]) -> dict[str, Any] | None:
    try:
        status: dict[str, Any] = client.get("/v1/status")
    except DaemonUnreachable as error:
        findings.append(Finding("daemon", "fail", str(error), "start it: systemctl start distd"))
        return None
    except CommandFailed as error:
        findings.append(Finding("daemon", "fail", str(error), "set $DISTD_TOKEN, or use the unix socket"))
        return None
    findings.append(Finding("daemon", "ok", f"{status['node']} answers"))
    return status


def _version(status: dict[str, Any]) -> Finding:
    if status["version"] == __version__:
        return Finding("version", "ok", f"distd and distctl are {__version__}")
    detail = f"distd is {status['version']}, distctl is {__version__}"
    return Finding("version", "warn", detail, "install one version of both, and restart the daemon")


def _readiness(client: Client) -> list[Finding]:
    try:
        code, text = client.text("/readyz?verbose")
    except CommandFailed as error:
        return [Finding("ready", "fail", str(error), "look at the daemon's log: journalctl -u distd")]
    if code == 200:
        return [Finding("ready", "ok", "the daemon can serve")]
    reasons = text.splitlines()[1:] or [f"the daemon says no (HTTP {code})"]
    return [
        Finding("ready", "fail", reason, "look at the daemon's log: journalctl -u distd")
        for reason in reasons
    ]


def _configuration(findings: list[Finding]) -> Config | None:
    from distd.config import ConfigError, load_config

    try:
        config = load_config()
    except ConfigError as error:
        findings += [
            Finding("config", "fail", str(fault), "correct the key; distctl config check tries it")
            for fault in error.faults
        ]
        return None
    findings.append(Finding("config", "ok", "the configuration found here is valid"))
    return config


def _filesystem(hub_dir: str, store_dir: str, *, daemon_runs: bool) -> Finding:
    """Whether hub and store directory can share content, by hard links."""
    try:
        if not (os.path.isabs(hub_dir) and os.path.isabs(store_dir)):
            raise FileNotFoundError(errno.ENOENT, "relative to the daemon's directory", store_dir)
        same = os.stat(hub_dir).st_dev == os.stat(store_dir).st_dev
    except OSError as error:
        detail = f"{error.filename} cannot be looked at from here ({error.strerror})"
        if daemon_runs:
            return Finding("filesystem", "ok", f"{detail}; the daemon checked it when it started")
        return Finding("filesystem", "warn", detail, "start the daemon, which creates and checks it")
    if same:
        return Finding("filesystem", "ok", f"{hub_dir} and {store_dir} are on one filesystem")
    return Finding(
        "filesystem",
        "fail",
        f"{hub_dir} and {store_dir} are on two filesystems, which share no content",
        "set cache.store_dir to a directory on the filesystem of cache.hub_dir",
    )


def _readable(hub_dir: str) -> list[Finding]:
    """Whether who asks may read the cache: a model server's user, say. Nothing, where it is not on this host."""
    try:
        group = os.stat(hub_dir).st_gid
    except PermissionError:
        fix = "run it as a user in the group of the cache: usermod -aG models USER, and log in anew"
        return [Finding("cache.readable", "warn", f"this user may not pass to {hub_dir}", fix)]
    except OSError:
        return []
    if os.access(hub_dir, os.R_OK | os.X_OK):
        return [Finding("cache.readable", "ok", f"this user can read {hub_dir}")]
    fix = f"usermod -aG {group} USER, and log in anew"
    return [Finding("cache.readable", "warn", f"this user cannot read {hub_dir} (group {group})", fix)]


def _ports(config: Config) -> list[Finding]:
    from distd.cli.ports import port_findings

    return port_findings(config)


def _disk(config: Config) -> Finding:
    """Free space, for when no daemon is there to tell it."""
    try:
        found = os.statvfs(config.store_dir)
    except OSError as error:
        detail = f"{config.store_dir} cannot be looked at from here ({error.strerror})"
        return Finding("disk", "warn", detail, "start the daemon, which creates and checks it")
    free_bytes, reserve_bytes = found.f_bavail * found.f_frsize, config.cache.min_free_bytes
    if free_bytes > reserve_bytes:
        return Finding("disk", "ok", f"{size(free_bytes)} free")
    return Finding(
        "disk",
        "fail",
        f"{size(free_bytes)} free, of which {size(reserve_bytes)} stay reserved (cache.min_free_bytes)",
        "free space, or remove models: distctl ls, distctl rm",
    )


def _daemon_findings(client: Client) -> list[Finding]:
    try:
        items = client.get("/v1/doctor", timeout_s=HUB_TIMEOUT_S)["items"]
    except CommandFailed as error:
        return [Finding("self-check", "fail", str(error), "look at the daemon's log: journalctl -u distd")]
    return [Finding(i["name"], i["outcome"], i["detail"], i["fix"]) for i in items]
