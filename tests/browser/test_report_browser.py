"""The report in a real browser: sort, filter, slider, keyboard, colours, a phone, and no request to anybody."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_runs import HOSTILE, METHODS, TITLE, VIDEOS, hostile_page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
)
SECONDS_TO_OPEN = 2.0

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_page(tmp_path_factory.getbasetemp())[2]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield opened
        opened.close()


class Watched:
    """A page with the requests that it made and what it complained of."""

    def __init__(self, browser: Any, path: Path, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        begun = time.perf_counter()
        self.page.goto(path.as_uri())
        self.seconds = time.perf_counter() - begun

    def viewer(self) -> Any:
        """The part with the videos, once the first one is there."""
        section = self.page.locator(".videos")
        section.scroll_into_view_if_needed()
        self.page.wait_for_selector(".videos[data-ready]")
        return section

    def column(self, key: str) -> list[str]:
        """Values of a leaderboard column, from top to bottom, of the rows that can be seen."""
        cells = self.page.locator(f'.leaderboard tbody tr:visible td[data-key="{key}"]')
        return [cell.get_attribute("data-value") or "" for cell in cells.all()]


@pytest.fixture
def watched(browser: Any, report: Path) -> Iterator[Watched]:
    found = Watched(browser, report)
    yield found
    assert found.complaints == []
    assert [url for url in found.requests if not url.startswith(("data:", report.as_uri()))] == []
    assert found.page.evaluate("window.hit") is None
    found.context.close()


def test_opens_quickly(browser: Any, report: Path) -> None:
    taken = []
    for _ in range(4):  # other work on the machine slows some of them down
        found = Watched(browser, report)
        taken.append(found.seconds)
        found.context.close()
        if taken[-1] < SECONDS_TO_OPEN:
            return
    pytest.fail(f"opening took {taken} s")


def test_asks_nobody_and_runs_no_name(watched: Watched) -> None:
    watched.viewer()
    page = watched.page
    assert page.locator("h1").inner_text() == TITLE
    named = page.locator(".classes tbody th").all_inner_texts()
    assert [text.strip() for text in named[: len(HOSTILE)]] == list(HOSTILE)
    # even a script that somebody smuggles in is refused
    refused = page.evaluate(
        "new Promise(done => { document.addEventListener('securitypolicyviolation', e => done(e.violatedDirective));"
        " const s = document.createElement('script'); s.textContent = 'window.hit = 1'; document.body.append(s); })"
    )
    assert refused.startswith("script-src")
    watched.complaints.clear()  # the browser reports what it refused


def test_headings_sort(watched: Watched) -> None:
    head = watched.page.locator('.leaderboard th[data-key="all.miou"]')
    head.get_by_role("button").click()
    down = [float(v) for v in watched.column("all.miou") if v]
    assert down == sorted(down, reverse=True) and len(set(down)) > 1
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").click()
    up = [float(v) for v in watched.column("all.miou") if v]
    assert up == down[::-1] and head.get_attribute("aria-sort") == "ascending"
    bias = watched.page.locator('.leaderboard th[data-key="seen_bias"]')
    bias.get_by_role("button").click()
    assert bias.get_attribute("aria-sort") == "ascending"  # less is better
    assert head.get_attribute("aria-sort") is None


def test_filters_of_scores_class_and_rows(watched: Watched) -> None:
    page = watched.page
    shown = "th[data-key]:visible"
    before = page.locator(f".leaderboard {shown}").count()
    page.select_option('[data-tool="set"]', "unseen")
    keys = [th.get_attribute("data-key") or "" for th in page.locator(f".leaderboard {shown}").all()]
    assert keys and all(key.startswith("unseen.") for key in keys)
    page.select_option('[data-tool="set"]', "*")
    assert page.locator(f".leaderboard {shown}").count() > before
    page.select_option('[data-tool="class"]', "0")
    head = page.locator(".leaderboard th.class-column")
    assert head.is_visible() and HOSTILE[0] in head.inner_text()
    values = [float(t) for t in page.locator(".leaderboard td.class-column").all_inner_texts() if t != "-"]
    assert len(values) == len(METHODS) + 1 and values == sorted(values, reverse=True)
    page.locator('.leaderboard [data-tool="name"]').fill("ORACLE")
    assert page.locator(".leaderboard tbody tr:visible th").all_inner_texts() == ["oracle-grid control"]
    page.locator('[data-tool="marked"]').uncheck()
    assert page.locator(".leaderboard tbody tr:visible").count() == 0
    page.select_option('.classes [data-tool="group"]', "unseen")
    assert page.locator(".classes tbody tr:visible").count() == 9
    page.locator('.classes [data-tool="name"]').fill("square")
    assert 0 < page.locator(".classes tbody tr:visible").count() < 9


def test_a_number_says_where_it_comes_from(watched: Watched) -> None:
    page = watched.page
    page.locator('.leaderboard tr[data-name="oracle-grid"] td[data-key="unseen.miou"]').click()
    dialog = page.locator("dialog")
    assert dialog.is_visible()
    said = dialog.inner_text()
    assert "unseen mIoU of oracle-grid" in said.replace("\n", " ") and "95 % interval" in said
    key = page.evaluate("document.querySelector('.origin dd').textContent")
    assert len(key) == 64 and "ovbench explain oracle-grid" in said
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_cells_are_reached_by_keyboard(watched: Watched) -> None:
    page = watched.page
    page.locator('.leaderboard td[tabindex="0"]').focus()
    first = page.evaluate("document.activeElement.dataset.key")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    moved = page.evaluate(
        "[document.activeElement.dataset.key, document.activeElement.parentElement.rowIndex]"
    )
    assert moved[0] != first and moved[1] == 2
    page.keyboard.press("Enter")
    assert page.locator("dialog").is_visible()
    assert page.evaluate("document.activeElement.textContent") == "Close"
    page.keyboard.press("Enter")
    assert not page.locator("dialog").is_visible()


def _pixels(page: Any, what: str) -> str:
    """What a tile shows, as the address of a PNG."""
    found: str = page.evaluate(
        "what => document.querySelector(`.tile[data-what='${what}'] canvas`).toDataURL()", what
    )
    return found


def test_slider_opacity_and_video_change_the_pictures(watched: Watched) -> None:
    section, page = watched.viewer(), watched.page
    where = section.locator('[data-view="where"]')
    assert where.inner_text().endswith("(1 of 20)")
    assert page.locator(".tile").count() == 2 + len(METHODS)
    first, truth = _pixels(page, "0"), _pixels(page, "truth")
    slider = section.locator('[data-view="frame"]')
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert where.inner_text().endswith("(2 of 20)")
    slider.fill("12")
    assert where.inner_text().endswith("(13 of 20)") and _pixels(page, "truth") != truth
    slider.fill("0")
    assert _pixels(page, "0") == first
    section.locator('[data-view="opacity"]').fill("0")
    assert _pixels(page, "0") == _pixels(page, "image") != first
    section.locator('[data-view="opacity"]').fill("100")
    assert _pixels(page, "truth") != _pixels(page, "image")
    section.locator('[data-view="video"]').select_option(label=VIDEOS[2])
    page.wait_for_selector(f'.videos[data-ready="{VIDEOS[2]}"]')
    assert _pixels(page, "truth") != truth


def test_viewer_by_keyboard_errors_and_legend(watched: Watched) -> None:
    section, page = watched.viewer(), watched.page
    page.locator(".tiles").focus()
    page.keyboard.press("ArrowLeft")
    assert section.locator('[data-view="where"]').inner_text().endswith("(20 of 20)")
    page.keyboard.press("]")
    page.wait_for_selector(f'.videos[data-ready="{VIDEOS[1]}"]')
    classes = _pixels(page, "0")
    page.keyboard.press("e")
    assert _pixels(page, "0") != classes and "wrong" in page.locator(".legend").inner_text()
    page.keyboard.press("e")
    page.locator(".legend button").first.click()
    assert page.locator('.legend button[aria-pressed="true"]').count() == 1
    alone = _pixels(page, "truth")
    page.locator('.legend button[aria-pressed="true"]').click()
    assert _pixels(page, "truth") != alone
    page.locator(".tiles").focus()
    page.keyboard.press("Shift+ArrowRight")
    assert page.locator('.tile[data-what="truth"] .said').inner_text() != ""
    page.locator('[data-view="play"]').click()
    sync_api.expect(section.locator('[data-view="where"]')).not_to_contain_text("(20 of 20)")
    page.locator('[data-view="play"]').click()
    assert page.locator('[data-view="play"]').get_attribute("aria-pressed") == "false"
    section.locator(".menu summary").click()
    section.get_by_role("checkbox", name=METHODS[2]).uncheck()
    sync_api.expect(page.locator(".tile")).to_have_count(1 + len(METHODS))


def _luminance(page: Any) -> float:
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, color.strip("rgb()").split(",")[:3])) / 3


def test_light_and_dark(browser: Any, report: Path) -> None:
    found = Watched(browser, report, color_scheme="dark")
    assert _luminance(found.page) < 60
    button = found.page.locator("#theme")
    button.click()
    assert _luminance(found.page) > 200 and "light" in (button.get_attribute("aria-label") or "")
    button.click()
    assert _luminance(found.page) < 60
    assert found.complaints == []
    found.context.close()
    found = Watched(browser, report, color_scheme="light")
    assert _luminance(found.page) > 200
    found.context.close()


def test_a_phone_needs_no_sideways_scrolling(browser: Any, report: Path) -> None:
    phone = {"width": 360, "height": 760}
    found = Watched(browser, report, viewport=phone, is_mobile=True, has_touch=True, device_scale_factor=2)
    found.viewer()
    assert found.page.evaluate("document.documentElement.scrollWidth") <= phone["width"]
    assert found.page.locator(".tile canvas").first.bounding_box()["width"] > 100
    small = found.page.evaluate(
        "[...document.querySelectorAll('main p, main td, main li, main label')].filter(e => e.offsetParent &&"
        " parseFloat(getComputedStyle(e).fontSize) < 10.5).length"
    )
    assert small == 0
    found.page.locator('.leaderboard th[data-key="unseen.miou"] button').tap()
    values = [float(v) for v in found.column("unseen.miou") if v]
    assert values == sorted(values, reverse=True)
    assert found.complaints == []
    found.context.close()


def test_without_scripts_the_numbers_are_there(browser: Any, report: Path) -> None:
    found = Watched(browser, report, java_script_enabled=False)
    assert found.page.locator(".leaderboard tbody tr").count() >= len(METHODS) + 1
    assert found.page.locator(".leaderboard form").is_hidden() and found.page.locator(".viewer").is_hidden()
    assert found.page.locator("noscript").first.is_visible()
    found.context.close()
