"""A real browser without a window: the system's Chromium, driven from outside, with no network but this host's.

Everything that a page asks for is recorded, and what the browser complains of: a test says at its end that there was
nothing to complain of (`Tab.check`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Request, Route, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "no Chromium on this machine: apt install chromium"
FLAGS = (
    "--no-sandbox",  # CI runs as root; the only pages are ours
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    "--proxy-server=127.0.0.1:9",  # whatever is not this host's leads nowhere
    "--proxy-bypass-list=127.0.0.1",
)
WAIT_MS = 20_000
"""For what a busy machine draws late; each wait ends as soon as it holds."""

Scheme = Literal["light", "dark"]
WIDE, NARROW = (1280, 900), (390, 844)


@dataclass
class Tab:
    page: Page
    url: str
    requests: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def check(self, *expected: str) -> None:
        """It asked nobody but the daemon, and the browser complained of nothing but what contains one of `expected`."""
        hosts = {urlsplit(request.url).netloc for request in self.requests}
        assert hosts == {urlsplit(self.url).netloc}
        unexpected = [text for text in self.complaints if not any(part in text for part in expected)]
        assert unexpected == []


@contextmanager
def chromium() -> Iterator[Browser]:
    assert CHROMIUM, MISSING
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def tab(
    browser: Browser, url: str, *, scheme: Scheme = "light", size: tuple[int, int] = WIDE, still: bool = True
) -> Iterator[Tab]:
    """A fresh profile at the daemon's first page. `still`: without motion."""
    context = browser.new_context(
        color_scheme=scheme,
        viewport={"width": size[0], "height": size[1]},
        reduced_motion="reduce" if still else "no-preference",
        service_workers="block",
    )
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    opened = Tab(page, url)
    page.on("request", lambda request: opened.requests.append(request))
    page.on("pageerror", lambda error: opened.complaints.append(f"error: {error}"))
    page.on(
        "console",
        lambda message: (
            opened.complaints.append(f"{message.type}: {message.text}")
            if message.type in ("error", "warning")
            else None
        ),
    )
    try:
        page.goto(url + "/")
        yield opened
    finally:
        context.close()


@contextmanager
def silent(page: Page) -> Iterator[None]:
    """The daemon cannot be reached from this page meanwhile."""

    def refuse(route: Route) -> None:
        route.abort("connectionrefused")

    page.route("**/v1/**", refuse)
    yield
    page.unroute("**/v1/**", refuse)
