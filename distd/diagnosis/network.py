"""The way to the Hub, step by step: proxy, name, connection, token, clock. The first that fails says the fix."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import time
from urllib.parse import urlsplit

from distd.api.schema import Finding
from distd.config import Config
from distd.errors import AccessDenied, DistdError, InvalidRequest
from distd.hub.network import proxy_for
from distd.hub.resolver import Resolver

STEP_S = 5.0
"""For a name or a connection: a person waits."""
HUB_S = 10.0
CLOCK_PAST_S = 1_700_000_000
"""A wall clock before late 2023 was never set: TLS certificates would not be valid yet."""
HUB_SKEW_WARN_S = 30.0
"""The Hub tells whole seconds, and its answer may come from a cache; members refuse each other from 60 s on."""
CLOCK_FIX = "set the clock and keep it synchronised (chronyc, timedatectl)"


async def hub_findings(config: Config, resolver: Resolver) -> list[Finding]:
    """Asks the Hub at most once."""
    if time.time() < CLOCK_PAST_S:
        told = f"this host's clock says {time.strftime('%Y-%m-%d', time.gmtime())}: it was never set"
        return [Finding("clock", "fail", told, CLOCK_FIX)]
    if not config.hub.fetch:
        return [Finding("hub", "ok", "not used by this node (hub.fetch is off)")]
    endpoint = config.hub.endpoint
    try:
        proxy = proxy_for(endpoint)
    except InvalidRequest as error:
        fix = "correct https_proxy and its kin in the daemon's environment (/etc/default/distd)"
        return [Finding("proxy", "fail", str(error), fix)]
    parts = urlsplit(proxy or endpoint)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    via = f"the proxy {host}:{port}" if proxy else host
    findings = []
    if fault := await _name_fault(host):
        fix = "check the name, /etc/resolv.conf and the name server; a site without DNS for the outside needs a proxy"
        return [Finding("dns", "fail", f"{host}: {fault}", fix)]
    findings.append(Finding("dns", "ok", f"{host} has an address"))
    # By itself and not by asking the Hub, which is asked again and again while a connection is refused.
    if fault := await _connect_fault(host, port):
        if proxy:
            fix = "check https_proxy and no_proxy in the daemon's environment (/etc/default/distd), and that proxy"
            return [*findings, Finding("proxy", "fail", f"{via}: {fault}", fix)]
        fix = "check hub.endpoint and the firewall for HTTPS to the outside; a site that needs a proxy sets https_proxy"
        return [*findings, Finding("hub", "fail", f"{via}:{port}: {fault}", fix)]
    if proxy:
        findings.append(Finding("proxy", "ok", f"{via} accepts connections"))
    return [*findings, *await _answer(config, resolver)]


async def _answer(config: Config, resolver: Resolver) -> list[Finding]:
    endpoint = config.hub.endpoint
    try:
        finding = Finding("hub", "ok", await asyncio.wait_for(resolver.check(), HUB_S))
    except TimeoutError:
        fix = "check the firewall for HTTPS to the outside, and the proxy variables"
        return [Finding("hub", "fail", f"{endpoint}: no answer within {HUB_S:.0f} s", fix)]
    except AccessDenied as error:
        finding = Finding(
            "hub", "fail", str(error), "replace the token: /etc/distd/credentials/hf-token, then restart"
        )
    except DistdError as error:
        fix = "check hub.endpoint, hub.ca_file, the firewall and the proxy variables"
        return [Finding("hub", "fail", f"{endpoint}: {error}", fix)]
    skew_s = resolver.clock_skew_s
    if skew_s is None:
        return [finding, Finding("clock", "ok", "plausible; the Hub did not tell its own")]
    if abs(skew_s) >= HUB_SKEW_WARN_S:
        direction = "behind" if skew_s > 0 else "ahead of"
        detail = f"this host's clock is {abs(skew_s):.0f} s {direction} the Hub's"
        return [finding, Finding("clock", "warn", detail, CLOCK_FIX)]
    return [finding, Finding("clock", "ok", f"within {HUB_SKEW_WARN_S:.0f} s of the Hub's")]


async def _name_fault(host: str) -> str:
    """Why the name has no address; empty when it has one, or is one."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return ""
    loop = asyncio.get_running_loop()
    try:
        await asyncio.wait_for(loop.getaddrinfo(host, None, type=socket.SOCK_STREAM), STEP_S)
    except TimeoutError:
        return f"the name server gives no answer within {STEP_S:.0f} s"
    except OSError as error:
        return error.strerror or str(error)
    return ""


async def _connect_fault(host: str, port: int) -> str:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), STEP_S)
    except TimeoutError:
        return f"no connection within {STEP_S:.0f} s"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)  # asyncio's own words name no reason
    writer.close()
    return ""
