"""Whether the ports that the configuration names are free; for when the daemon does not run."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from distd.cli.diagnosis import Finding

if TYPE_CHECKING:
    from distd.config import Config


def port_findings(config: Config) -> list[Finding]:
    """Tries to listen where the daemon would, for a moment. Port 0 is always free."""
    from distd.config.kinds import split_listen

    wanted = [("api.listen", *split_listen(config.api.listen))] if config.api.listen else []
    if config.is_member:
        host, port = split_listen(config.swarm.listen)
        wanted += [
            ("cluster.listen", *split_listen(config.cluster.listen)),
            ("swarm.listen", host, port),
            ("swarm.listen, the next port", host, port + 1 if port else 0),
        ]
    faults = [found for key, host, port in wanted if (found := _fault(key, host, port))]
    if faults:
        return faults
    told = ", ".join(str(port) for _, _, port in wanted if port)
    return [Finding("ports", "ok", f"free: {told}")] if told else []


def _fault(key: str, host: str, port: int) -> Finding | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen(1)
    except OSError as error:
        where = f"{key}: {host}:{port}"
        if error.errno == errno.EADDRINUSE:
            fix = f"ss -ltnp 'sport = :{port}' names who has it: stop it, or set another port"
            return Finding("ports", "fail", f"{where} is taken by another process", fix)
        if error.errno == errno.EADDRNOTAVAIL:
            return Finding(
                "ports",
                "fail",
                f"{where} is no address of this host",
                "ip address lists them; 0.0.0.0 means all",
            )
        if error.errno == errno.EACCES:
            return Finding(
                "ports", "warn", f"{where} needs privileges to listen on", "choose a port from 1024 on"
            )
        return Finding("ports", "fail", f"{where}: {error.strerror or error}", "correct the key")
    return None
