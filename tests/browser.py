"""A real browser for tests: what a page looks like at a width, and what it asks of the network."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, sync_playwright

# Those of the tests run as root and without a card.
_OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")
_PATIENCE_MS = 60_000

# Boxes of all words inside a chart that are drawn, by chart.
_WORDS = """
() => [...document.querySelectorAll('.js-plotly-plot')].map(chart => ({
    id: chart.id,
    words: [...chart.querySelectorAll('.main-svg text')]
        .filter(text => text.textContent.trim() && getComputedStyle(text).visibility !== 'hidden'
            && Number(getComputedStyle(text).fillOpacity) > 0 && !text.closest('.parcoords'))
        .map(text => { const box = text.getBoundingClientRect();
            return {text: text.textContent, left: box.left, right: box.right, top: box.top, bottom: box.bottom}; })
        .filter(word => word.right > word.left),
    drawn: chart.querySelectorAll('.points path, .point path, .lines path, .bars path, canvas').length,
    left: chart.getBoundingClientRect().left,
    right: chart.getBoundingClientRect().right,
}))
"""


@contextmanager
def browser_page(width: int, height: int = 900) -> Iterator[Page]:
    """Open a page of this width in pixels."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "this test needs a real browser: `apt-get install chromium`, or any Chrome on PATH"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_OPTIONS))
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(_PATIENCE_MS)
            yield page
        finally:
            browser.close()


def charts_on(page: Page) -> list[dict[str, Any]]:
    """Return every chart with its words, each with its box, and how many things are drawn in it."""
    found: list[dict[str, Any]] = page.evaluate(_WORDS)
    return found


def overlapping(words: list[dict[str, Any]], tolerance: float = 2.0) -> list[tuple[str, str]]:
    """Return the pairs of words whose boxes lie over each other by more than so many pixels in both directions."""
    pairs = []
    for place, a in enumerate(words):
        for b in words[place + 1 :]:
            wide = min(a["right"], b["right"]) - max(a["left"], b["left"])
            high = min(a["bottom"], b["bottom"]) - max(a["top"], b["top"])
            if wide > tolerance and high > tolerance:
                pairs.append((a["text"], b["text"]))
    return pairs
