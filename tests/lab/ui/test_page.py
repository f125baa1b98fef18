"""The whole path in a real browser: choose, train both methods, watch, reload, stop, resume, compare, try, measure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from dept.methods.budget import rank_for
from tests.acceptance.page_server import PageServer
from tests.browser import browser

SHOTS = Path(__file__).resolve().parents[3] / "build" / "page"
_SECONDS = 1000
_POINTS = """() => [...(document.querySelector("#curve-0 .figure")?.data || [])].map((line) => line.x.length)"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    with PageServer(tmp_path) as found:
        yield found


@pytest.fixture
def chromium() -> Iterator[Browser]:
    executable = browser()
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield found
        found.close()


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def points(page: Page) -> list[int]:
    """Of each line of the loss."""
    found: list[int] = page.evaluate(_POINTS)
    return found


def until_both_move(page: Page) -> None:
    """Both runs' lines are drawn, and the open one's grows."""
    page.wait_for_function(f"() => {{ const n = ({_POINTS})(); return n.length === 2 && Math.min(...n) > 3; }}")


@pytest.mark.slow
def test_the_whole_path(server: PageServer, chromium: Browser) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page = chromium.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(60 * _SECONDS)
    expect.set_options(timeout=60 * _SECONDS)
    faults: list[str] = []
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.goto(server.address)

    # The rank follows m; a fault stands beside its field before anything starts.
    page.get_by_label("Backbone").first.click()
    page.get_by_role("option", name="Folder: small-t5").click()
    field = page.locator("#virtual-tokens input[type=number]")
    for m in (20, 60):
        field.fill(str(m))
        field.press("Enter")
        expect(page.locator("#numbers dd").first).to_contain_text(re.compile(rf"^{rank_for(m, 128, 256)}\D"))
    page.locator("#max-steps input").fill("900000")
    expect(page.locator("#max-steps")).to_contain_text("at most")
    expect(page.locator("#launch")).to_be_disabled()
    for name, value in (("max-steps", 100), ("eval-every", 50), ("batch-size", 4), ("max-seq-length", 64)):
        page.locator(f"#{name} input").fill(str(value))
    page.locator("#prompt-lr input[type=text]").fill("0.3")
    page.locator("#low-rank-lr input[type=text]").fill("5e-4")
    page.locator("#low-rank-lr input[type=text]").press("Tab")
    expect(page.locator("#launch")).to_be_enabled()
    shoot(page, "train")

    # Two runs, one after the other; their curves move, and are there again after a reload.
    page.locator("#launch").click()
    expect(page.locator(".run")).to_have_count(2)
    page.wait_for_function(f"() => Math.max(0, ...({_POINTS})()) > 3")
    assert "run=" in page.url
    runs = {name: page.locator(".run").filter(has_text=re.compile(rf"(?<!De){name}, sst2")) for name in ("PT", "DePT")}
    first = runs["PT"]
    page.get_by_role("button", name="Stop").click()
    expect(first.locator(".status")).to_contain_text("stopped at step")
    page.get_by_role("button", name="Resume").click()
    expect(first.locator(".status")).to_contain_text("in the queue")
    until_both_move(page)
    before = max(points(page))
    page.reload()
    until_both_move(page)
    assert max(points(page)) >= before
    shoot(page, "runs")
    for run in runs.values():
        expect(run.locator(".status")).to_contain_text("completed", timeout=120 * _SECONDS)

    # What came of it: beside the paper, marked; and on a text.
    tab(page, "Results")
    expect(page.locator("#results tbody tr")).to_have_count(2)
    expect(page.locator("#results")).to_contain_text("sample data")
    shoot(page, "results")
    tab(page, "Try it")
    expect(page.locator("#try-0 textarea")).not_to_be_empty()
    page.locator("#try-0 textarea").fill("a gorgeous, witty film")
    page.locator("#predict").click()
    expect(page.locator(".answer")).to_have_count(3)
    expect(page.locator("#answers")).to_contain_text("ms a text")
    shoot(page, "try")

    # A measurement of its own: a first pair, then cancelled, which keeps it.
    tab(page, "Speed")
    page.locator("#measure").click()
    expect(page.locator("#speed-line")).to_contain_text("1 of", timeout=90 * _SECONDS)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#speed-line")).to_contain_text("stopped")
    shoot(page, "speed")
    assert faults == []


def shoot(page: Page, name: str) -> None:
    """Pictures of a tab at both widths, light and dark; nothing may be wider than the window."""
    for width in (1440, 375):
        page.set_viewport_size({"width": width, "height": 900})
        for theme in ("light", "dark"):
            page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", theme == "dark")
            page.wait_for_timeout(300)
            page.screenshot(path=SHOTS / f"{name}-{width}-{theme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} is too wide"
    page.evaluate("document.body.classList.remove('dark')")
    page.set_viewport_size({"width": 1440, "height": 900})
