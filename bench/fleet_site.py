"""Where contenders compete: N capped nodes, the test Hub behind a capped upstream, and a model in it.

Commands run in a node's namespace and are measured by the kernel's accounts. Times are wall seconds, sizes
bytes, link rates Mbit/s.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from bench.netns import Namespace, Network
from tests.hub import HubProcess, ModelSpec, generate

CHECKOUT = Path(__file__).parents[1]
REPO = "acme/bench"
SAMPLE_S = 0.2
"""Between two looks at memory. The kernel keeps the peak, so only the last moments can be missed."""


class Incomplete(Exception):
    """A contender ended without the bytes it was to deliver, which no time can make up for; permanent."""


@dataclass(frozen=True)
class Outcome:
    """One run of one contender. `wall_s` ends when the last node had everything where it belongs.

    `cpu_s` is of all processes on all nodes, `peak_rss_mb` of the largest node. `publish_s`: from a node's
    last byte to published, the slowest node's. `idle` is the machine's share of idle CPU time meanwhile.
    """

    wall_s: float
    hub_bytes: int
    cpu_s: float
    peak_rss_mb: float
    idle: float
    publish_s: float | None = None


@dataclass(frozen=True)
class Ended:
    """A command that ended well. `at` is epoch seconds."""

    at: float
    cpu_s: float
    peak_rss_mb: float


@dataclass(frozen=True)
class Shape:
    nodes: int
    nic_mbit_per_s: float
    upstream_mbit_per_s: float
    size_mib: int
    shards: int
    peers_mbit_per_s: float | None = None
    """Of each node to and from all others, when that is a way of its own beside the one to the Hub."""


@dataclass
class Site:
    """`files` are the paths of the repo, `size_bytes` their sum: what each node has to end up with."""

    shape: Shape
    network: Network
    nodes: list[Namespace]
    hub: HubProcess
    work: Path
    files: tuple[str, ...]
    size_bytes: int
    _hub_namespace: Namespace
    _works: int = field(default=0)

    def hub_bytes(self) -> int:
        """Bodies the Hub handed out since `fresh`."""
        return int(self._hub_namespace.call(self.hub.counters)["body_bytes"])

    def fresh(self) -> Path:
        """An empty directory, the one before it deleted, and the Hub's counters at zero."""
        shutil.rmtree(self.work / f"run-{self._works}", ignore_errors=True)
        self._works += 1
        directory = self.work / f"run-{self._works}"
        directory.mkdir()
        self._hub_namespace.call(self.hub.reset_counters)
        return directory

    def url(self, path: str) -> str:
        return f"{self.hub.url}/{REPO}/resolve/main/{path}"

    def check(self, directory: Path) -> None:
        """Raises Incomplete unless the directory has the repo's files, with as many bytes."""
        paths = [directory / path for path in self.files]
        missing = [str(path) for path in paths if not path.is_file()]
        held = sum(path.stat().st_size for path in paths) if not missing else 0
        if held != self.size_bytes:
            raise Incomplete(f"{directory} holds {held} bytes of {self.size_bytes}; missing: {missing}")


@contextmanager
def site(shape: Shape, work: Path) -> Iterator[Site]:
    """Builds all of it; afterwards nothing of it is left but what is written below `work`."""
    model = work / "model"
    generate(ModelSpec(seed=7, weight_bytes=shape.size_mib * 2**20, shards=shape.shards), model)
    with Network() as network:
        upstream = network.add("hub", shape.upstream_mbit_per_s)
        nodes = [network.add(f"n{number}", shape.nic_mbit_per_s) for number in range(shape.nodes)]
        if shape.peers_mbit_per_s is not None:
            for node in nodes:
                network.set_rates(node, shape.nic_mbit_per_s, upstream.address, shape.peers_mbit_per_s)
        hub = HubProcess({REPO: model}, host=upstream.address)
        upstream.call(hub.start)
        try:
            entries = upstream.call(lambda: _tree(hub.url))
            yield Site(
                shape,
                network,
                nodes,
                hub,
                work,
                tuple(path for path, _ in entries),
                sum(size for _, size in entries),
                upstream,
            )
        finally:
            hub.stop()


def _tree(hub_url: str) -> list[tuple[str, int]]:
    with urlopen(f"{hub_url}/api/models/{REPO}/tree/main?recursive=true") as response:
        return [(entry["path"], entry["size"]) for entry in json.load(response) if entry["type"] == "file"]


class Command:
    """A process in a node's namespace, measured to its end. `environment` is all it gets but PATH and HOME.

    Making one starts it. `kill` may be called at any time; `result` waits, and raises Incomplete for an exit
    status other than 0 that `kill` is not the cause of.
    """

    def __init__(
        self,
        node: Namespace,
        command: Sequence[str],
        home: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._command = command
        self._log = home / f"{Path(command[0]).name}.log"
        self._killed = False
        self._peak_kib = 0
        self._started = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        surroundings = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            **(environment or {}),
        }
        self._ended: Future[Ended] = node.submit(lambda: self._run(surroundings))
        # The future ends too when the program is not there.
        self._ended.add_done_callback(lambda _: self._started.set())

    def _run(self, environment: Mapping[str, str]) -> Ended:
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                self._command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._process = process
        self._started.set()
        _, status, usage = os.wait4(process.pid, 0)
        at = time.time()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode and not self._killed:
            words = self._log.read_text(errors="replace")[-2000:]
            raise Incomplete(f"{' '.join(self._command)[:200]} ended with {process.returncode}:\n{words}")
        return Ended(at, usage.ru_utime + usage.ru_stime, self._peak_kib * 1024 / 1e6)

    def kill(self) -> None:
        self._started.wait()
        self._killed = True
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    @property
    def running(self) -> bool:
        return not self._ended.done()

    def look(self) -> None:
        """Notes the memory it has used at most so far."""
        if self._process is None or self._process.returncode is not None:
            return
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return  # ended just now
        found = status.partition("VmHWM:")[2].split()
        if found:  # a process that is ending has no memory left to speak of
            self._peak_kib = max(self._peak_kib, int(found[0]))

    def result(self) -> Ended:
        return self._ended.result()

    @staticmethod
    def any_ended(commands: Sequence[Command], timeout_s: float) -> None:
        """Returns when one of those still running has ended, or after so long."""
        running = [command._ended for command in commands if command.running]
        wait(running, timeout_s, FIRST_COMPLETED)


def until(condition: Callable[[], bool], commands: Sequence[Command]) -> None:
    """Waits for the condition while the commands run. Raises Incomplete when one fails, or all end before it."""
    while not condition():
        running = [command for command in commands if command.running]
        for command in commands:
            command.look()
            if command not in running:
                command.result()
        if not running and not condition():
            raise Incomplete("all commands have ended without what they were started for")
        Command.any_ended(commands, SAMPLE_S)


def ended(commands: Sequence[Command]) -> list[Ended]:
    """Waits for all; when one fails the others are killed and Incomplete is raised."""
    try:
        until(lambda: not any(command.running for command in commands), commands)
    except BaseException:
        for command in commands:
            command.kill()
        raise
    return [command.result() for command in commands]
