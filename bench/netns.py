"""A fleet's network on one machine: nodes behind capped links, in network namespaces nobody else sees.

Every node is a namespace with one IPv4 address, or others of both families, and one veth pair to a bridge in a
namespace of its own.
Both ends of the pair pass a token bucket (`tc tbf`) at the link's rate: the node's end caps what it sends,
the bridge's end what it receives. Nothing of the host is touched: `launch` starts the benchmark in new
network, mount and PID namespaces, as root or, where the kernel lets users, in a user namespace. With their
first process ends everything in them, however it ended.

Rates are Mbit/s, 10^6 bits.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self, TypeVar

T = TypeVar("T")

ISOLATION = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
PREFIXES = (
    ("unshare", *ISOLATION),
    ("unshare", "--user", "--map-root-user", *ISOLATION),
)
"""Ways into namespaces, best first: as root, and as anybody where user namespaces are allowed."""

RUN_TMPFS = "mount -t tmpfs none /run"
"""`ip netns` keeps names in /run; its own /run keeps them off the host's."""

PROBE = f"""{RUN_TMPFS} && ip netns add probe && ip link add p0 type veth peer name p1 netns probe &&
ip link add b0 type bridge && tc qdisc add dev p0 root tbf rate 1mbit burst 64kb latency 50ms"""

SUBNET = "10.77.0"
"""Private to the namespaces; a fleet has at most 250 nodes, far more than a machine can carry."""

BURST_BYTES_MIN = 128 * 1024
"""Two of the largest segments the kernel hands down, so that the bucket does not cut them up."""

BURST_S = 0.002
QUEUE_MS = 50
"""What a link queues before it drops, as switches and NICs do."""

CLONE_NEWNET = 0x40000000


class Unavailable(Exception):
    """This machine grants no namespaces, or has no `ip` and `tc`; permanent. `attempts` are (way, words)."""

    def __init__(self, attempts: Sequence[tuple[str, str]]) -> None:
        super().__init__(attempts)
        self.attempts = attempts

    def __str__(self) -> str:
        tried = "\n".join(f"  {way}\n    {words}" for way, words in self.attempts)
        return (
            "network namespaces are not to be had here. Run this as root, or where users may make user "
            f"namespaces (kernel.unprivileged_userns_clone, AppArmor), with iproute2 installed. Tried:\n{tried}"
        )


def launch(command: Sequence[str], environment: dict[str, str]) -> int:
    """Runs the command in namespaces of its own and returns its exit status. Raises Unavailable.

    Ctrl-C reaches the command, which is waited for; SIGTERM ends it and everything it started.
    """
    prefix = _way_in()
    script = f'{RUN_TMPFS} && exec "$@"'
    process = subprocess.Popen([*prefix, "sh", "-c", script, "sh", *command], env=environment)
    signal.signal(signal.SIGTERM, _stop)
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # the terminal told the command too: it cleans up and ends
    finally:
        process.kill()  # --kill-child: with it everything in its PID namespace
        process.wait()


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _way_in() -> tuple[str, ...]:
    attempts = []
    for prefix in PREFIXES:
        try:
            done = subprocess.run([*prefix, "sh", "-c", PROBE], capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise Unavailable([(prefix[0], str(error))]) from error
        if done.returncode == 0:
            return prefix
        attempts.append((" ".join(prefix), done.stderr.strip().replace("\n", "\n    ") or "no reason given"))
    raise Unavailable(attempts)


class Namespace:
    """One machine of the fleet. What `call` runs, and every process it starts, sees this network alone.

    A function runs in the namespace's one thread: calls to one namespace follow each other, those to
    several run at the same time. It may itself call its own namespace.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self._thread = ThreadPoolExecutor(1, f"netns-{name}", initializer=self._enter)
        self._inside = 0

    def call(self, function: Callable[[], T]) -> T:
        if threading.get_ident() == self._inside:
            return function()
        return self.submit(function).result()

    def submit(self, function: Callable[[], T]) -> Future[T]:
        return self._thread.submit(function)

    def close(self) -> None:
        self._thread.shutdown()

    def _enter(self) -> None:
        """Moves the calling thread alone: namespaces belong to threads, and children inherit from theirs."""
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(descriptor, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter the namespace {self.name}")
        finally:
            os.close(descriptor)
        self._inside = threading.get_ident()


class Network:
    """A bridge and the namespaces around it; a context manager. Only inside what `launch` started."""

    BRIDGE = "bridge"

    def __init__(self) -> None:
        self.namespaces: list[Namespace] = []

    def __enter__(self) -> Self:
        run("ip", "netns", "add", self.BRIDGE)
        run("ip", "-n", self.BRIDGE, "link", "add", "name", "br0", "type", "bridge")
        run("ip", "-n", self.BRIDGE, "link", "set", "dev", "br0", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for namespace in self.namespaces:
            namespace.close()
            run("ip", "netns", "delete", namespace.name)
        run("ip", "netns", "delete", self.BRIDGE)

    def add(self, name: str, mbit_per_s: float | None = None, addresses: Sequence[str] = ()) -> Namespace:
        """A namespace with these addresses (default: one of its own), behind a link of that rate in both directions."""
        addresses = addresses or (f"{SUBNET}.{len(self.namespaces) + 1}",)
        run("ip", "netns", "add", name)
        namespace = Namespace(name, addresses[0])
        self.namespaces.append(namespace)
        port = self._port(name)
        run(
            *("ip", "link", "add", "name", port, "netns", self.BRIDGE),
            *("type", "veth", "peer", "name", "eth0", "netns", name),
        )
        run("ip", "-n", self.BRIDGE, "link", "set", "dev", port, "master", "br0", "up")
        for address in addresses:
            give(name, "eth0", address)
        for device in ("lo", "eth0"):
            run("ip", "-n", name, "link", "set", "dev", device, "up")
        if mbit_per_s is not None:
            self.set_rate(namespace, mbit_per_s)
        return namespace

    def set_rate(self, namespace: Namespace, mbit_per_s: float) -> None:
        """From now on; what is queued on the link at the moment is dropped."""
        burst_bytes = max(BURST_BYTES_MIN, round(mbit_per_s * 1e6 / 8 * BURST_S))
        bucket = ("tbf", "rate", f"{mbit_per_s}mbit", "burst", str(burst_bytes), "latency", f"{QUEUE_MS}ms")
        for where, device in ((namespace.name, "eth0"), (self.BRIDGE, self._port(namespace.name))):
            run("tc", "-n", where, "qdisc", "replace", "dev", device, "root", *bucket)

    def set_rates(self, namespace: Namespace, mbit_per_s: float, other_end: str, others: float) -> None:
        """The way to and from the address `other_end` has the first rate, that to all others together a way and rate of its own."""
        for where, device, side in (
            (namespace.name, "eth0", "dst"),
            (self.BRIDGE, self._port(namespace.name), "src"),
        ):
            at = ("tc", "-n", where)
            on = ("dev", device, "parent")
            run(
                *at,
                "qdisc",
                "replace",
                "dev",
                device,
                "root",
                "handle",
                "1:",
                "htb",
                "default",
                "2",
                "r2q",
                "1000",
            )
            for number, rate in ((1, mbit_per_s), (2, others)):
                burst_bytes = max(BURST_BYTES_MIN, round(rate * 1e6 / 8 * BURST_S))
                burst = ("burst", str(burst_bytes), "cburst", str(burst_bytes))
                run(
                    *at,
                    "class",
                    "add",
                    *on,
                    "1:",
                    "classid",
                    f"1:{number}",
                    "htb",
                    "rate",
                    f"{rate}mbit",
                    *burst,
                )
                queue_bytes = max(BURST_BYTES_MIN, round(rate * 1e3 / 8 * QUEUE_MS))
                run(*at, "qdisc", "add", *on, f"1:{number}", "bfifo", "limit", str(queue_bytes))
            match = ("u32", "match", "ip", side, f"{other_end}/32", "flowid", "1:1")
            run(*at, "filter", "add", *on, "1:", "protocol", "ip", "prio", "1", *match)

    @staticmethod
    def _port(name: str) -> str:
        return f"to-{name}"


def give(namespace: str, device: str, address: str) -> None:
    """An address of one /24, or one /64 of IPv6, that can be used at once."""
    width = ("64", "nodad") if ":" in address else ("24",)
    run("ip", "-n", namespace, "address", "add", f"{address}/{width[0]}", "dev", device, *width[1:])


def congestion_control() -> str:
    return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()


def run(*command: str) -> None:
    """Runs a command of the host. Raises RuntimeError with its words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
