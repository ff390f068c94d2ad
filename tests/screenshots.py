"""`make screenshots`: the pictures in docs/img, taken of real runs.

A local Hub with synthetic models, four daemons that find each other, models on some of them, and one pull on all while
another stalls. The dashboard is taken by Chromium; what `distctl` draws is read from a pseudo-terminal of its own and
written as SVG. All ports are the system's choice; nothing but docs/img is written outside a temporary directory.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.daemon.daemon import DaemonProcess, until
from tests.dashboard.browser import NARROW, WIDE, Scheme, chromium, tab
from tests.hub import HubProcess, ModelSpec, generate

IMAGES = Path(__file__).parents[1] / "docs/img"
IMAGE_BYTES_MAX = 200_000
"""Of one picture: who reads the documents over a slow link waits for all of them."""
NODES = ("gpu-01", "gpu-02", "gpu-03", "gpu-04")
HUB_BYTES_PER_S = 5e6
MIB = 2**20
BIG, HALF, HELD, GATED = "acme/llama-8b", "acme/qwen-coder", "acme/whisper", "acme/gated"
COLUMNS, ROWS = 110, 30
WAIT_S = 60.0
NEW_FRAME = re.compile(r"\x1b\[H|\r(?:\x1b\[\d+A)?\x1b\[J")
"""A program that draws begins anew with one of these: `top` goes to the corner, `pull` back over its lines."""
NO_STYLE = re.compile(r"\x1b\[(?!\d*(?:;\d+)*m)[?\d;]*[A-Za-z]")
THEME = TerminalTheme(
    (24, 29, 26),
    (232, 237, 233),
    [
        (16, 20, 18),
        (255, 157, 148),
        (127, 214, 160),
        (245, 193, 99),
        (110, 168, 255),
        (214, 150, 255),
        (120, 214, 214),
        (200, 205, 201),
    ],
)
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", ui-monospace, monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: system-ui, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""
"""rich's own picture without its fonts, which it would load from another host."""


def main() -> int:
    IMAGES.mkdir(exist_ok=True)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fleet = _fleet(stack, work)
        first = fleet[0]
        first.pull(GATED)
        with Terminal(first, "pull", BIG, "--nodes", "all") as pull:
            until(lambda: _share(first) > 0.15 or None, "the pull to be under way", WAIT_S)
            fleet[3].kill9()
            pull.read_for(6.0)
            with Terminal(first, "top") as top:
                _dashboard(first.url)
                top.read_for(1.0)
                _terminal("top", "distctl top", top.frame)
            pull.read_for(1.0)
            _terminal("pull", f"distctl pull {BIG} --nodes all", pull.frame)
        first.delete(f"/v1/pulls/{_pull(first)['id']}")
    return _modest()


def _fleet(stack: ExitStack, work: Path) -> list[DaemonProcess]:
    hub = stack.enter_context(HubProcess(rate_bytes_per_s=None))
    for seed, (repo, mib, options) in enumerate(
        ((BIG, 480, {}), (HALF, 48, {}), (HELD, 24, {}), (GATED, 1, {"gated": True}))
    ):
        directory = work / repo
        generate(ModelSpec(seed=seed, weight_bytes=mib * MIB, shards=4), directory)
        hub.add_repo(repo, directory, **options)
    fleet: list[DaemonProcess] = []
    for name in NODES:
        joined = [
            peer["addresses"]["cluster"]
            for each in fleet
            for peer in each.get("/v1/peers")["items"]
            if peer["is_self"]
        ]
        settings = {
            "node.name": name,
            "node.zone": "rack-4",
            "cluster.name": "serving",
            "cluster.listen": "127.0.0.1:0",
            "cluster.join": ",".join(joined),
            "swarm.listen": "127.0.0.1:0",
        }
        fleet.append(DaemonProcess(work / name, hub.url, settings))
        fleet[-1].start()
        stack.callback(fleet[-1].kill9)
    for each in fleet:
        until(
            lambda each=each: each.get("/v1/status")["cluster"]["reachable"] == len(NODES),
            "all to meet",
            WAIT_S,
        )
    stack.callback(hub.set, rate_bytes_per_s=None)
    # What is held before is fetched at full speed; then the link is as slow as there is something to see.
    for holder, repo in ((fleet[0], HELD), (fleet[2], HELD), (fleet[1], HALF)):
        holder.pulled(repo)
    hub.set(rate_bytes_per_s=HUB_BYTES_PER_S)
    return fleet


def _pull(daemon: DaemonProcess) -> dict[str, object]:
    return next(pull for pull in daemon.get("/v1/pulls")["items"] if pull["nodes"])


def _share(daemon: DaemonProcess) -> float:
    pulls = [pull for pull in daemon.get("/v1/pulls")["items"] if pull["nodes"]]
    node = pulls[0]["nodes"][0] if pulls else None
    return node["bytes_done"] / node["bytes_total"] if node and node["bytes_total"] else 0.0


class Terminal:
    """`distctl` on a terminal of its own; `frame` is what it drew last, with its colours."""

    def __init__(self, daemon: DaemonProcess, *words: str) -> None:
        self._sent = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "DISTD_URL": daemon.url,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "distd.cli", *words],
            env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def read_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._master], [], [], left)[0]:
                self._sent += os.read(self._master, 65536).decode("utf-8", "replace")

    @property
    def frame(self) -> str:
        whole = [part for part in NEW_FRAME.split(self._sent) if part.strip()]
        return NO_STYLE.sub("", whole[-1]).replace("\r\n", "\n").replace("\r", "").rstrip()


def _terminal(name: str, title: str, frame: str) -> None:
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), highlight=False)  # noqa: SIM115
    console.print(Text.from_ansi(frame), no_wrap=True, crop=True)
    svg = console.export_svg(title=title, theme=THEME, code_format=SVG, unique_id=name)
    (IMAGES / f"{name}.svg").write_text(svg, encoding="utf-8")


def _dashboard(url: str) -> None:
    views: tuple[tuple[str, Scheme, tuple[int, int]], ...] = (
        ("dashboard", "light", (WIDE[0], 1500)),
        ("dashboard-dark", "dark", WIDE),
        ("dashboard-narrow", "light", NARROW),
    )
    with chromium() as browser, ExitStack() as stack:
        tabs = [
            (name, stack.enter_context(tab(browser, url, scheme=scheme, size=size)))
            for name, scheme, size in views
        ]
        tabs[0][1].page.wait_for_timeout(15_000)  # so that the chart has something to show
        for name, opened in tabs:
            opened.page.bring_to_front()
            opened.page.wait_for_timeout(2500)
            opened.page.screenshot(path=IMAGES / f"{name}.png")


def _modest() -> int:
    too_large = [path.name for path in IMAGES.iterdir() if path.stat().st_size > IMAGE_BYTES_MAX]
    for path in sorted(IMAGES.iterdir()):
        print(f"{path.name:<24} {path.stat().st_size / 1000:>6.0f} kB")
    if too_large:
        print(f"larger than {IMAGE_BYTES_MAX / 1000:.0f} kB: {', '.join(too_large)}")
    return bool(too_large)


if __name__ == "__main__":
    sys.exit(main())
