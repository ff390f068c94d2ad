"""The dashboard in a real browser: what it shows, who can use it, and what it never does."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from msgspec import structs
from playwright.sync_api import Browser, Page, expect

from distd.api.schema import ErrorView
from distd.core.refs import Repo
from tests.api.memory import peer
from tests.dashboard.browser import NARROW, WAIT_MS, WIDE, Scheme, silent, tab
from tests.dashboard.scene import HOSTILE, Scene

expect.set_options(timeout=WAIT_MS)
RULES = {
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    }
}
REFUSED = ("ERR_CONNECTION_REFUSED", "Failed to load resource")


def violations(page: Page) -> list[str]:
    found = Axe().run(page, options=RULES).response["violations"]
    return [f"{each['id']}: {node['html'][:120]}" for each in found for node in each["nodes"]]


def test_a_node_without_anything_says_so(browser: Browser, scene: Scene) -> None:
    with tab(browser, scene.url) as opened:
        page = opened.page
        expect(page.get_by_role("heading", level=1)).to_contain_text("gpu-01")
        expect(page.get_by_text("Nothing is being pulled.")).to_be_visible()
        expect(page.get_by_text("No model is held yet.")).to_be_visible()
        expect(page.get_by_text("alone, without peers")).to_be_visible()
        expect(page.get_by_role("heading", name="Who feeds whom")).to_have_count(0)
        opened.check()


def test_pulls_are_told_by_the_event_stream_and_not_asked_for_meanwhile(
    browser: Browser, scene: Scene
) -> None:
    pull = scene.downloading(0.25)
    with tab(browser, scene.url) as opened:
        page = opened.page
        card = page.get_by_role("article", name="acme/solo")
        expect(card).to_contain_text("25 %")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.partition("/v1/")[2]))

        def look() -> list[str]:
            """What is asked for in one round."""
            asked.clear()
            with page.expect_request(re.compile(r"v1/status$")):
                pass
            with page.expect_request(re.compile(r"v1/status$")):
                pass
            return [path for path in asked if path.startswith("pulls")]

        rounds = 0
        while look():  # the stream is not open yet
            rounds += 1
            assert rounds < 20
        scene.daemon.later(0, lambda: scene.memory.pulls.download(pull, 0.5))
        expect(card).to_contain_text("50 %")
        assert look() == []
        opened.check()


def test_a_fleet_at_work_is_seen_at_a_glance(browser: Browser, scene: Scene) -> None:
    scene.fleet()
    with tab(browser, scene.url) as opened:
        page = opened.page
        card = page.get_by_role("article", name="acme/mixtral-8x22b")
        expect(card.locator(".answer")).to_have_text("1 m 28 s left 1 m 10 s to 2 m 10 s limited by the Hub")
        expect(card.get_by_role("row", name="gpu-03")).to_contain_text("complete")
        expect(card.get_by_role("row", name="gpu-04")).to_contain_text("gives no answer: connection refused")
        expect(card.get_by_text("ready on 1 of 4 nodes")).to_be_visible()
        expect(page.get_by_role("article", name="acme/tiny")).to_contain_text("the Hub answers 429")
        matrix = page.get_by_role("region", name="Models on nodes").get_by_role("table")
        row = matrix.get_by_role("row", name="acme/mixtral-8x22b")
        expect(row.get_by_role("cell")).to_have_text(["", "43 %", "40 %", "✓complete", re.compile("21 %")])
        expect(matrix.get_by_role("row", name="acme/llama-70b")).to_contain_text("complete")
        flows = page.get_by_role("region", name="Who feeds whom")
        expect(flows.get_by_role("row", name="gpu-02").get_by_role("cell")).to_have_text(
            ["400.0 MB/s", "600.0 MB/s", "", "–nothing", "–nothing", "9.0 GB"]
        )
        expect(flows.get_by_role("row", name="gpu-04").get_by_role("cell").first).to_have_text("·not known")
        # Another node's own pull, and what other caches hold.
        expect(
            page.get_by_role("article", name="acme/whisper").get_by_role("row", name="gpu-03")
        ).to_be_visible()
        row = matrix.get_by_role("row", name="acme/qwen-32b-instruct")
        expect(row.get_by_role("cell")).to_have_text(
            ["65.0 GB", "✓complete", "✓complete", "✓complete", "·not known here"]
        )
        expect(page.get_by_role("region", name="Members")).to_contain_text("dead")
        expect(page.get_by_role("region", name="Finished pulls")).to_contain_text(
            "accept its terms on the Hub"
        )
        expect(page.get_by_role("button")).to_have_count(0)  # read-only: this daemon has no token
        opened.check()


@pytest.mark.parametrize(("scheme", "size"), [("light", WIDE), ("dark", NARROW)])
def test_axe_finds_nothing_and_no_window_is_too_narrow(
    browser: Browser, scene: Scene, scheme: Scheme, size: tuple[int, int]
) -> None:
    scene.fleet()
    with tab(browser, scene.url, scheme=scheme, size=size) as opened:
        page = opened.page
        expect(page.get_by_role("region", name="Finished pulls")).to_be_visible()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        dark = sum(int(part) for part in re.findall(r"\d+", ground)[:3]) < 3 * 128
        assert dark == (scheme == "dark")


def test_when_a_node_failed_the_time_left_is_that_of_the_others(browser: Browser, scene: Scene) -> None:
    pull = scene.fleet()
    parts = scene.memory.pulls.get(pull).nodes
    error = ErrorView("hub_unreachable", "Node not reachable", "gpu-04 gave no answer for 20 s", True)
    lost = structs.replace(parts[3], state="failed", error=error, stalled_reason=None)
    scene.memory.pulls.advance(
        pull, nodes=(*parts[:3], lost), eta_s=None, eta_low_s=None, eta_high_s=None, limited_by=None
    )
    with tab(browser, scene.url) as opened:
        card = opened.page.get_by_role("article", name="acme/mixtral-8x22b")
        expect(card.locator(".answer")).to_have_text(
            "1 m 28 s left 1 m 20 s to 2 m 20 s, on the nodes that go on limited by the Hub"
        )
        expect(card.get_by_role("row", name="gpu-04")).to_contain_text("gave no answer for 20 s")
        opened.check()


def test_a_name_that_is_an_attack_is_shown_as_the_text_it_is(browser: Browser, scene: Scene) -> None:
    scene.hostile()
    with tab(browser, scene.url) as opened:
        page = opened.page
        expect(page.get_by_role("article").first.get_by_role("heading")).to_contain_text(HOSTILE)
        expect(page.get_by_role("region", name="Finished pulls")).to_contain_text(HOSTILE)
        expect(page.get_by_role("region", name="Members")).to_contain_text(HOSTILE)
        expect(page.get_by_role("region", name="Models on nodes")).to_contain_text(HOSTILE)
        assert page.locator("img, main script, [onerror]").count() == 0
        assert "owned" not in page.title()
        # The browser's own guard holds too: the page may not make markup of a string at all.
        with pytest.raises(Exception, match="TrustedHTML"):
            page.evaluate("document.body.innerHTML = '<b>x</b>'")
        assert all("<" not in request.url for request in opened.requests)
        opened.check("TrustedHTML", "Trusted", "status of 4")  # members cannot be asked about such a name


def test_an_update_keeps_the_readers_place_and_is_told_only_where_it_matters(
    browser: Browser, scene: Scene
) -> None:
    pull = scene.downloading()
    scene.memory.pulls.advance(pull, nodes=scene.memory.pulls.get(scene.fleet()).nodes)
    with tab(browser, scene.url) as opened:
        page = opened.page
        region = page.get_by_role("region", name="acme/solo by node")
        region.focus()
        row = region.get_by_role("row", name="gpu-01").element_handle()
        part = scene.memory.pulls.get(pull).nodes[0]
        moved = structs.replace(part, bytes_done=part.bytes_done + 5 * 10**9)
        scene.memory.pulls.advance(pull, nodes=(moved, *scene.memory.pulls.get(pull).nodes[1:]))
        expect(region.get_by_role("row", name="gpu-01")).to_contain_text("55 %")
        expect(region).to_be_focused()
        assert row is not None
        assert row.evaluate("row => row.isConnected")
        expect(page.locator("#news")).to_have_text("")  # progress is not news
        scene.memory.pulls.complete(pull)
        expect(page.locator("#news")).to_have_text("acme/solo: complete")
        expect(page.get_by_role("region", name="Finished pulls")).to_contain_text("acme/solo")
        opened.check()


def test_of_a_large_fleet_the_page_draws_what_a_person_can_take_in(browser: Browser, scene: Scene) -> None:
    scene.memory.node.others = [
        peer(f"gpu-{number:03}", state="dead" if number == 110 else "alive") for number in range(2, 121)
    ]
    for number in range(60):
        scene.memory.models.hold(Repo("model", f"acme/model-{number:03}"))
    with tab(browser, scene.url) as opened:
        page = opened.page
        expect(page.get_by_text("and 10 more models")).to_be_visible()
        expect(page.get_by_text("and 20 more members")).to_be_visible()
        expect(page.get_by_text("96 nodes between which less moves left out.")).to_be_visible()
        members = page.get_by_role("region", name="Members").get_by_role("row")
        expect(members.nth(1)).to_contain_text("gpu-110")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        opened.check()


def test_a_daemon_that_is_gone_is_said_and_what_it_last_said_stays(browser: Browser, scene: Scene) -> None:
    scene.downloading()
    with tab(browser, scene.url) as opened:
        page = opened.page
        expect(page.get_by_role("article")).to_be_visible()
        with silent(page):
            expect(page.locator("#connection")).to_contain_text("No answer from the daemon since")
            expect(page.get_by_role("article")).to_be_visible()
        expect(page.locator("#connection")).to_be_hidden()
        opened.check(*REFUSED)


def test_with_a_token_everything_can_be_done_from_the_keyboard(browser: Browser, guarded: Scene) -> None:
    pull = guarded.downloading()
    with tab(browser, guarded.url) as opened:
        page, keys = opened.page, opened.page.keyboard
        expect(page.locator("#connection")).to_contain_text("enter it")
        expect(page.get_by_role("article")).to_have_count(0)
        assert violations(page) == []
        keys.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        keys.press("Tab")
        expect(page.get_by_role("button", name="Enter the token")).to_be_focused()
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        keys.press("Enter")
        expect(page.get_by_label("Token", exact=True)).to_be_focused()
        assert violations(page) == []
        keys.type("wrong")
        keys.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("The daemon does not accept this token.")
        keys.type("s3cret")  # the wrong one is selected
        keys.press("Enter")
        expect(page.get_by_role("article")).to_be_visible()
        page.get_by_role("button", name="Pause acme/solo").focus()
        keys.press("Enter")
        expect(page.get_by_role("button", name="Resume acme/solo")).to_be_visible()
        assert guarded.memory.pulls.get(pull).state == "paused"
        page.get_by_role("button", name="Cancel acme/solo").focus()
        keys.press("Enter")
        expect(page.get_by_role("heading", name="Cancel acme/solo?")).to_be_visible()
        keys.press("Escape")
        expect(page.get_by_role("article")).to_be_visible()
        assert guarded.memory.pulls.get(pull).state == "paused"
        page.get_by_role("button", name="Cancel acme/solo").focus()
        keys.press("Enter")
        page.get_by_role("button", name="Cancel the pull").press("Enter")
        expect(page.get_by_role("article")).to_have_count(0)
        assert guarded.memory.pulls.get(pull).state == "cancelled"
        assert all("s3cret" not in request.url for request in opened.requests)
        assert page.evaluate("localStorage.length") == 0
        page.get_by_role("button", name="Forget the token").press("Enter")
        expect(page.get_by_role("button", name="Enter the token")).to_be_visible()
        expect(page.get_by_role("region", name="Finished pulls")).to_have_count(0)
        assert page.evaluate("sessionStorage.length") == 0
        opened.check("status of 401")
