"""A pytest plugin: a real browser for a module, and what a page does in it.

The browser is Debian's ``chromium``, driven by Playwright. Where either is missing the tests that
want it are skipped; with ``DIFFPIR_REQUIRE_BROWSER=1`` they fail.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

REQUIRED = "DIFFPIR_REQUIRE_BROWSER"
SILENT = ("file:", "data:", "blob:")  # requests that leave nothing


def _missing(what: str) -> None:
    text = f"{what}; scripts/browser install brings what the tests of pages need"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium. Not for longer: beside Playwright no other event loop can run."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        _missing("no chromium is installed")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("no playwright is installed")
    with sync_playwright() as playwright:
        # Root has no sandbox; the pages are the tests' own.
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextmanager
def opened(browser, url: str, may_ask: tuple[str, ...] = (), **context) -> Iterator:
    """A page in a context of its own; afterwards, that it had no error and asked nobody.

    Args:
        browser: of the fixture.
        url: of the page.
        may_ask: beginnings of the URLs that it may request.
        context: options of Playwright's ``new_context``.
    """
    with browser.new_context(**context) as contexts:
        page = contexts.new_page()
        page.set_default_timeout(60_000)
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        page.said = said
        yield page
        assert said == []
        assert [url for url in asked if not url.startswith((*SILENT, *may_ask))] == []


def violations(page) -> list[str]:
    """What axe-core finds wrong with how accessible the page is, in words."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['help']} {[n['html'] for n in v['nodes'][:3]]}" for v in found]


def until(page, expression: str, seconds: float = 60) -> None:
    """Wait until an expression is true; Playwright's own waiting is against the page's policy."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"never true: {expression}"
        page.wait_for_timeout(50)
