"""Several daemons and a Hub on one machine: a fleet to pull with, to kill and to look into. Sizes are bytes.

Ports are the system's choice wherever a daemon tells which one it got. The cluster's ports have to be known to the
others before, and to stay the same over a restart: those are drawn where the system gives none away, and a member whose
port somebody else took meanwhile is given another before anybody knows of it.
"""

from __future__ import annotations

import hashlib
import os
import random
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.daemon.daemon import DaemonProcess, Refused, View, until
from tests.daemon.repos import HubRepo, assert_all_visible_is_right, assert_same_files, etag_of
from tests.hub import HubProcess

START_ATTEMPTS = 3
"""A port is free when it is chosen and may be taken when it is used; thrice in a row is another trouble."""
COMPANY_S = 20.0
"""For a daemon to be heard of by all others."""
PULL_S = 60.0

OUTGOING_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST_PORT = 12_000
"""Above what services of a machine listen on."""
SPARE_PORTS = 100
"""Ports that may turn out to be taken before it is given up."""

ADDRESS_IN_USE = "address already in use"


def free_ports(count: int) -> list[int]:
    """Different ports, all free at this moment, that the system gives to nobody who does not ask for them by number.

    Below the range of ports for outgoing connections: of those, one that is free now is somebody's a moment later.
    """
    first_given = int(OUTGOING_PORTS.read_text().split()[0])
    found: list[int] = []
    for port in random.SystemRandom().sample(range(LOWEST_PORT, first_given), k=count + SPARE_PORTS):
        with socket.socket() as tried, suppress(OSError):
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports between {LOWEST_PORT} and {first_given}")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a pull ended on one node."""

    node: DaemonProcess
    view: View


class Fleet:
    """Members `n0`, `n1`, ... of one cluster; a context manager that ends what still runs.

    `settings` are for all members; `each`, `wrapped` and `environments` add those of one by its number, as `DaemonProcess`
    takes them. Members not in `members` are made by `add`.
    """

    def __init__(
        self,
        directory: Path,
        hub: HubProcess,
        members: int,
        *,
        settings: dict[str, object] | None = None,
        each: dict[int, dict[str, object]] | None = None,
        wrapped: dict[int, Sequence[str]] | None = None,
        environments: dict[int, Mapping[str, str]] | None = None,
    ) -> None:
        self.directory = directory
        self.hub = hub
        self.nodes: list[DaemonProcess] = []
        self._members = members
        self._settings = settings or {}
        self._each = each or {}
        self._wrapped = wrapped or {}
        self._environments = environments or {}
        self._ports: list[int] = []

    def __enter__(self) -> Self:
        try:
            self.add(self._members)
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.end()
            return
        with ExitStack() as stack:  # all are stopped, whatever one of them does
            for node in self.nodes:
                stack.callback(_stopped_well, node)

    def end(self) -> None:
        for node in self.nodes:
            node.kill9()

    def add(self, count: int = 1) -> list[DaemonProcess]:
        """Starts further members, together, and waits until all running members know each other."""
        first = len(self.nodes)
        self._ports += free_ports(count)
        made = [self._make(first + offset) for offset in range(count)]
        self.nodes += made
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(self._start, range(first, first + count)))
        self.await_company()
        return made

    def _make(self, number: int) -> DaemonProcess:
        seeds = [f"127.0.0.1:{port}" for port in self._ports[:1]]
        settings: dict[str, object] = {
            "node.name": f"n{number}",
            "cluster.name": "fleet",
            "cluster.listen": f"127.0.0.1:{self._ports[number]}",
            "cluster.join": ",".join(seeds),
            "swarm.listen": "127.0.0.1:0",
        }
        return DaemonProcess(
            self.directory / f"n{number}",
            self.hub.url,
            settings | self._settings | self._each.get(number, {}),
            wrapper=self._wrapped.get(number, ()),
            environment=self._environments.get(number),
            wait_ready=False,  # a member without room is not ready, and a member all the same
        )

    def _start(self, number: int) -> None:
        for attempt in range(START_ATTEMPTS):
            try:
                self.nodes[number].start()
            except AssertionError:
                taken = ADDRESS_IN_USE in self.nodes[number].log_tail()
                # The first member's port is the one that all others are told to join.
                if not taken or number == 0 or attempt == START_ATTEMPTS - 1:
                    raise
                self.nodes[number].kill9()
                self._ports[number] = free_ports(1)[0]
                self.nodes[number] = self._make(number)
            else:
                return

    @property
    def running(self) -> list[DaemonProcess]:
        return [node for node in self.nodes if node in DaemonProcess.running]

    def await_company(self, reachable: int | None = None) -> None:
        """Until every running member counts as many reachable ones, itself included (all running ones)."""
        expected = len(self.running) if reachable is None else reachable
        for node in self.running:
            until(
                lambda node=node: _reachable(node) == expected,  # type: ignore[misc]  # bound now
                f"{node.state_dir} to count {expected} members",
                COMPANY_S,
            )

    # Faults

    def kill9(self, *nodes: DaemonProcess) -> None:
        """SIGKILL, and a look at what each left to be seen."""
        for node in nodes:
            node.kill9()
            assert_all_visible_is_right(node.hub_dir, node.store_dir)

    def restart(self, *nodes: DaemonProcess) -> None:
        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(DaemonProcess.restart, nodes))

    # Pulls

    def submit(self, repo: HubRepo, nodes: Iterable[DaemonProcess] | None = None) -> dict[DaemonProcess, str]:
        """The same pull on each node at the same time; ids by node."""
        chosen = list(self.nodes if nodes is None else nodes)
        with ThreadPoolExecutor(len(chosen)) as pool:
            ids = list(pool.map(lambda node: str(node.submit(repo.id)["id"]), chosen))
        return dict(zip(chosen, ids, strict=True))

    def wait(self, pulls: dict[DaemonProcess, str], timeout_s: float = PULL_S) -> list[Ended]:
        """Until every pull ended, however it did."""
        deadline = time.monotonic() + timeout_s
        return [
            Ended(node, node.wait(pull, timeout_s=max(0.1, deadline - time.monotonic())))
            for node, pull in pulls.items()
        ]

    def await_share(self, pulls: dict[DaemonProcess, str], share: float, timeout_s: float = PULL_S) -> None:
        """Until each of these pulls has more than this share of its bytes."""
        for node, pull in pulls.items():
            node.wait(pull, lambda view: (view["bytes_total"] or 0) * share < view["bytes_done"], timeout_s)

    def lead_of(self, repo: HubRepo, etag: str) -> DaemonProcess:
        """The member that leads a blob while all are alive: the first in rendezvous order."""
        from peers import rendezvous

        names = {f"n{number}": node for number, node in enumerate(self.nodes)}
        return names[next(iter(rendezvous.order(etag, names)))]


def complete(ended: Iterable[Ended], repo: HubRepo) -> None:
    """Every pull completed, its bytes add up, and what it published is the source, byte by byte and by SHA-256."""
    for each in ended:
        view = each.view
        assert view["state"] == "complete", (each.node.state_dir, view["error"])
        assert view["bytes_total"] == repo.size_bytes
        by_source = view["bytes_from_hub"] + view["bytes_from_peers"] + view["bytes_reused"]
        assert by_source == view["bytes_done"] == view["bytes_total"], view
        snapshot = Path(view["snapshot_path"])
        assert_same_files(snapshot, repo.directory)
        assert sha256_of_files(snapshot) == sha256_of_files(repo.directory)
        assert_all_visible_is_right(each.node.hub_dir, each.node.store_dir)


def counted_over_all_lives(ended: Iterable[Ended], repo: HubRepo) -> None:
    """After kills and restarts too each byte of the large file is counted where it came from, none as found on the disk.

    Small files may be: a member that fetched one for others before it pulled itself has it already.
    """
    views = [each.view for each in ended]
    small_bytes = repo.size_bytes - largest(repo)[0].stat().st_size
    assert all(view["bytes_reused"] <= small_bytes for view in views), views
    assert sum(view["bytes_from_hub"] for view in views) <= repo.sent_bytes()


def counters_agree(nodes: Sequence[DaemonProcess], accepted: Mapping[DaemonProcess, int]) -> None:
    """Since these daemons started: what members say to have got is what members say to have sent, to the byte, and each
    got no less than what its pulls `accepted`."""

    def look() -> bool:
        peers = [peer for node in nodes for peer in node.get("/v1/peers")["items"] if not peer["is_self"]]
        received, sent = (sum(peer[f"{way}_bytes"] for peer in peers) for way in ("received", "sent"))
        return bool(received == sent)

    until(look, "the members to agree on what moved between them")
    for node, accepted_bytes in accepted.items():
        by_member = node.metrics().by_label("distd_peer_received_bytes_total")
        assert set(by_member) <= {f"n{number}" for number in range(len(nodes))}
        assert sum(by_member.values()) >= accepted_bytes


def sha256_of_files(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): _sha256(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hub_copies(repo: HubRepo) -> float:
    """What the Hub sent of the repo since its counters were reset, in copies of it."""
    return repo.sent_bytes() / repo.size_bytes


def assert_copies_at_most(repo: HubRepo, strict: float) -> None:
    """Fails when the Hub sent more copies than `strict` with SWARM_STRICT=1 (`make swarm`), else than `strict` + 0.6.

    Not every test reaches its strict number each time: a third member joining in the middle was measured at
    1.00 and at 1.36 copies, on an idle machine too. Why is not known; `make swarm` shows it.
    """
    loose = 0.0 if os.environ.get("SWARM_STRICT") else 0.6
    copies = hub_copies(repo)
    assert copies <= strict + loose, f"{copies:.4f} Hub copies"


def largest(repo: HubRepo) -> tuple[Path, str]:
    """The largest file of the repo's source and its etag."""
    path = max((path for path in repo.directory.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    return path, etag_of(path, "0" * 64)


def flip(path: Path, offset: int) -> None:
    """Changes one byte of a file, read-only or not, through the inode that others may link."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))
        os.fsync(file.fileno())
    path.chmod(mode)


def slowest_answer_s(node: DaemonProcess, until_true: Callable[[], bool], every_s: float = 0.01) -> float:
    """The longest that `/livez` took while polled until the condition holds."""
    longest = 0.0
    while not until_true():
        began = time.monotonic()
        node.get("/livez")
        longest = max(longest, time.monotonic() - began)
        time.sleep(every_s)
    return longest


def _reachable(node: DaemonProcess) -> int | None:
    try:
        status: dict[str, Any] = node.get("/v1/status")
    except (OSError, Refused):
        return None
    return int(status["cluster"]["reachable"])


def _stopped_well(node: DaemonProcess) -> None:
    status = node.terminate()
    assert status == 0, f"{node.state_dir} ended with {status}"
