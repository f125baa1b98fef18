"""A run on images in a real browser: choose the encoder, train, see the predictions, ask about a picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from dept.tasks.sample import sample_rows
from tests.acceptance.page_server import Browser as Visitor
from tests.acceptance.page_server import PageServer
from tests.dept.vision_helpers import save_tower
from tests.lab.ui.test_page import chromium, shoot, tab  # noqa: F401 - a fixture

_SECONDS = 1000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    with PageServer(tmp_path, tower=save_tower(tmp_path / "small-clip")) as found:
        yield found


@pytest.mark.slow
def test_a_question_about_a_picture(server: PageServer, chromium: Browser, tmp_path: Path) -> None:  # noqa: F811
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60 * _SECONDS)
    expect.set_options(timeout=60 * _SECONDS)
    faults: list[str] = []
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.goto(server.address)

    # The part for images comes and goes with the task; the projection is counted.
    expect(page.locator("#numbers dd").first).to_be_visible()
    encoder = page.get_by_label("Image encoder").first
    expect(encoder).to_be_hidden()
    chosen = {"Backbone": "Folder: small-t5", "Task": "vqa: Visual", "Image encoder": "Folder: small-clip"}
    for label, option in chosen.items():
        page.get_by_label(label).first.click()
        page.get_by_role("option", name=option).click()
    expect(encoder).to_be_visible()
    expect(page.locator("#numbers")).to_contain_text(f"{128 * 24 + 128:,}")
    page.get_by_label("DePT", exact=True).check()
    for name, value in (("max-steps", 20), ("eval-every", 20), ("batch-size", 4), ("max-seq-length", 64)):
        page.locator(f"#{name} input").fill(str(value))
        page.locator(f"#{name} input").press("Tab")
    expect(page.locator("#launch")).to_be_enabled()
    shoot(page, "train-images")
    page.locator("#launch").click()

    # Its predictions stand beside their pictures.
    expect(page.locator(".run .status")).to_contain_text("completed", timeout=300 * _SECONDS)
    expect(page.locator("#run-predictions figure")).to_have_count(24)
    sizes = page.evaluate("[...document.querySelectorAll('#run-predictions img')].map((image) => image.naturalWidth)")
    assert set(sizes) == {64}
    shoot(page, "runs-images")

    # A sample, then a picture of one's own; what is no picture is told.
    tab(page, "Try it")
    question = page.locator("#try-0 textarea")
    rows = sample_rows("vqa", "test", 20)
    images = list(dict.fromkeys(row["image"]["bytes"] for row in rows))
    expect(question).to_have_value(rows[0]["question"])
    page.locator("#try-pictures button:has(img)").nth(2).click()
    expect(question).to_have_value(next(row["question"] for row in rows if row["image"]["bytes"] == images[2]))
    page.locator("#predict").click()
    expect(page.locator(".answer")).to_have_count(2)
    heights = page.evaluate(
        "[...document.querySelectorAll('#try-pictures, #try-pictures img')].map((e) => e.offsetHeight)"
    )
    assert heights[0] < 2 * max(heights[1:]) + 40, "no empty room below the samples"
    shoot(page, "try-images")
    hostile = tmp_path / "x.png"
    hostile.write_bytes(b"<svg onload=alert(1)>")
    page.get_by_label(re.compile("Clear|Remove")).first.click()
    page.locator("#try-picture input[type=file]").set_input_files(hostile)
    page.locator("#predict").click()
    expect(page.locator("#answers")).to_contain_text("no image of a known format")
    assert faults == []

    # gradio hands on nothing that lies outside its own folder.
    visitor = Visitor(server.address)
    listener = visitor.named("predict", "click")
    for path in ("/etc/passwd", str(server.runs / ".queue" / "operator-key")):
        data = visitor.values(listener)
        data[2] = {"path": path, "meta": {"_type": "gradio.FileData"}}
        status, said = visitor.queued(listener, data)
        assert status == 200 and '"success":false' in said.replace(" ", "") and "root:" not in said
