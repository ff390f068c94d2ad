"""Checks across keys: what is well-formed and still cannot work.

Keys of the contract whose feature this version does not have are refused at any value but their
default: an accepted key that does nothing would be a silent failure.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping

import msgspec

from distd.config.faults import Fault
from distd.config.kinds import split_listen
from distd.config.sections import Config
from distd.core.access import AllowList
from distd.core.limits import LIMIT_KEYS, RATE_MIN_BYTES_PER_S
from distd.core.refs import parse_ref
from distd.errors import DistdError
from distd.schedule import cron_fires

NOT_IN_THIS_VERSION: tuple[str, ...] = ("mirror.listen",)
"""Known to the contract, without effect yet."""


def check_config(config: Config, sources: Mapping[str, str]) -> list[Fault]:
    """Every fault across keys. `sources` says where a key was set; one that was not is a default."""
    faults = _unsupported(config, sources)

    def fault(key: str, value: object, reason: str) -> None:
        source = sources.get(key) or sources.get(key.partition("[")[0], "default")
        faults.append(Fault(source, key, value, reason))

    for key, path in (
        ("node.state_dir", config.node.state_dir),
        ("cache.hub_dir", config.hub_dir),
        ("cache.store_dir", config.store_dir),
    ):
        if os.path.exists(path) and not os.path.isdir(path):
            fault(key, path, "is not a directory")
    for key, path in (
        ("hub.token_file", config.hub.token_file),
        ("hub.ca_file", config.hub.ca_file),
        ("api.token_file", config.api.token_file),
    ):
        if path and not os.access(path, os.R_OK):
            fault(key, path, "cannot be read: check that it exists and that this user may read it")
    hub_device, store_device = _device(config.hub_dir), _device(config.store_dir)
    if hub_device != store_device:
        fault(
            "cache.store_dir",
            config.store_dir,
            f"lies on another filesystem than cache.hub_dir ({config.hub_dir}): content is shared by hard links, so both must be on one",
        )
    if not config.api.listen and not config.api.socket:
        fault(
            "api.listen", "", "is empty and so is api.socket: nobody could reach the daemon; set one of them"
        )
    _check_cluster(config, fault)
    _check_limits(config, fault)
    _check_prefetch(config, fault)
    if config.hub.source == "xet":
        fault("hub.source", "xet", "is not in this version: use auto or bridge")
    return faults


TLS_NEEDS = {
    "cluster.listen": "cluster.tls_cert_file",
    "swarm.listen": 'cluster.tls_cert_file and swarm.encryption = "tls"',
}

WINDOWS_MAX = 50
"""Each is looked at twice a second."""


def _check_limits(config: Config, fault: Callable[[str, object, str], None]) -> None:
    named: list[tuple[str, object]] = [("limits", config.limits)]
    if len(config.limits.window) > WINDOWS_MAX:
        fault("limits.window", len(config.limits.window), f"are too many windows: at most {WINDOWS_MAX}")
    for position, window in enumerate(config.limits.window):
        key = f"limits.window[{position}]"
        named.append((key, window))
        if window.from_time == window.to:
            fault(
                key,
                window.to,
                'begins and ends at the same time: for a whole day write from "00:00" to "24:00"',
            )
    for key, limits in named:
        for name in LIMIT_KEYS:
            rate = getattr(limits, name)
            if rate is not None and 0 < rate < RATE_MIN_BYTES_PER_S:
                fault(
                    f"{key}.{name}",
                    rate,
                    f"is too little to work with: at least {RATE_MIN_BYTES_PER_S} (64 KiB/s), or 0 for no limit",
                )


def _check_prefetch(config: Config, fault: Callable[[str, object, str], None]) -> None:
    seen: list[object] = []
    for position, entry in enumerate(config.prefetch):
        key = f"prefetch[{position}]"
        same = msgspec.structs.replace(entry, pin=False)
        if same in seen:
            fault(key, entry.repo, "is declared twice")
        seen.append(same)
        try:
            parse_ref(entry.repo, entry.type, entry.revision)
        except DistdError as error:
            fault(f"{key}.repo", entry.repo, str(error))
        if entry.schedule:
            try:
                never = cron_fires(entry.schedule)(0.0) is None
            except ValueError as error:
                fault(f"{key}.schedule", entry.schedule, str(error))
            else:
                if never:
                    fault(f"{key}.schedule", entry.schedule, "names a day that never comes")


def _check_cluster(config: Config, fault: Callable[[str, object, str], None]) -> None:
    name = config.node.name
    if name == "all" or "," in name or not name.isprintable() or name != name.strip():
        fault(
            "node.name", name, "cannot be told apart in --nodes: no commas or blanks around it, and not 'all'"
        )
    certified = bool(config.cluster.tls_cert_file)
    tls = {"cluster.listen": certified, "swarm.listen": certified and config.swarm.encryption == "tls"}
    for key, address in (
        ("cluster.listen", config.cluster.listen),
        ("swarm.listen", config.swarm.listen),
    ):
        if not address:
            fault(
                key, "", "is empty: a daemon without a cluster does not listen there anyway, so leave it out"
            )
        elif not is_loopback(address) and not (config.cluster.secret_file or tls[key]):
            fault(
                key,
                address,
                "can be reached by other hosts and needs cluster.secret_file, which tells members from"
                f" strangers, or TLS ({TLS_NEEDS[key]}): distctl cluster init makes either",
            )
    secret_file = config.cluster.secret_file
    if secret_file and not os.access(secret_file, os.R_OK):
        fault(
            "cluster.secret_file",
            secret_file,
            "cannot be read: check that it exists and that this user may read it; distctl cluster init makes one",
        )
    for position, address in enumerate(config.cluster.join):
        key = f"cluster.join[{position}]"
        try:
            host, port = split_listen(address)
        except ValueError:
            fault(key, address, 'is not a member\'s address: write "HOST:PORT", for instance "10.0.0.1:7071"')
            continue
        if port == 0 or _is_wildcard(host):
            fault(
                key,
                address,
                "names no one host and port to connect to: write that of a member's cluster.listen",
            )
    for key, address in (
        ("cluster.advertise", config.cluster.advertise),
        ("swarm.advertise", config.swarm.advertise),
    ):
        if address and _is_wildcard(split_listen(address)[0]):
            fault(key, address, "is no address that others could connect to: name this host's own")
    for key, address in (("swarm.listen", config.swarm.listen), ("swarm.advertise", config.swarm.advertise)):
        if address and _numeric(split_listen(address)[0]) is None:
            fault(key, address, "needs a numeric address: peers connect to it without asking a name server")
    if split_listen(config.swarm.listen or "[::]:0")[1] == 65535:
        fault("swarm.listen", config.swarm.listen, "leaves no next port, which is taken too: at most 65534")
    _check_tls(config, fault)
    for position, line in enumerate(config.cluster.allow):
        try:
            AllowList((line,))
        except DistdError as error:
            fault(f"cluster.allow[{position}]", line, str(error))


def _check_tls(config: Config, fault: Callable[[str, object, str], None]) -> None:
    """What the files hold is judged when they are read, at the start."""
    cluster = config.cluster
    named = {
        "cluster.tls_cert_file": cluster.tls_cert_file,
        "cluster.tls_key_file": cluster.tls_key_file,
        "cluster.tls_ca_file": cluster.tls_ca_file,
    }
    for key, path in named.items():
        if path and not os.access(path, os.R_OK):
            fault(key, path, "cannot be read: check that it exists and that this user may read it")
        elif not path and any(named.values()):
            fault(
                key,
                path,
                "is missing: certificate, key and CA go together; distctl cluster init --tls makes them",
            )
    if cluster.tls_crl_file and not os.access(cluster.tls_crl_file, os.R_OK):
        problem = "cannot be read: check that it exists and that this user may read it"
        fault("cluster.tls_crl_file", cluster.tls_crl_file, problem)
    elif cluster.tls_crl_file and not any(named.values()):
        problem = "revokes certificates, of which there are none without cluster.tls_cert_file"
        fault("cluster.tls_crl_file", cluster.tls_crl_file, problem)
    if config.swarm.encryption == "tls" and not any(named.values()):
        fault(
            "swarm.encryption",
            "tls",
            "needs cluster.tls_cert_file, tls_key_file and tls_ca_file: distctl cluster init --tls makes them",
        )


def is_loopback(listen: str) -> bool:
    """Whether only this machine can connect to `listen`."""
    host, _ = split_listen(listen)
    if host == "localhost":
        return True
    address = _numeric(host)
    return address is not None and address.is_loopback


def _is_wildcard(host: str) -> bool:
    address = _numeric(host)
    return address is not None and address.is_unspecified


def _numeric(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _unsupported(config: Config, sources: Mapping[str, str]) -> list[Fault]:
    default = msgspec.to_builtins(Config())
    given = msgspec.to_builtins(config)
    faults = []
    for key in NOT_IN_THIS_VERSION:
        section, _, name = key.partition(".")
        value = given[section][name] if name else given[section]
        if value != (default[section][name] if name else default[section]):
            faults.append(
                Fault(sources.get(key, "default"), key, value, "is not in this version: leave it out")
            )
    return faults


def _device(path: str) -> int:
    """Device of the nearest existing ancestor: where the directory would be made."""
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return os.stat(path).st_dev
