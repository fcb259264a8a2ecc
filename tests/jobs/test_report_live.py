"""The page of a run that is at work: what it learns, and who may see it."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager

import aiohttp
import pytest

from benchmarks.outputs import write_output
from jobs.report import live as live_page
from jobs.report.live import serve
from pipeline.errors import PipelineError
from pipeline.output.drivers import Heartbeat
from pipeline.output.layout import Layout
from tests.browser import opened, until, violations
from tests.pictures import photograph


@pytest.fixture
def output(tmp_path):
    """A run of three shards, two of which are still to come (they lie in ``later/``)."""
    run = write_output(
        tmp_path, 9, shard_rows=3, pictures=[photograph(1400, 90)], failed_every=5, uncertainty=True
    )
    os.mkdir(tmp_path / "later")
    for name in sorted(os.listdir(f"{run}/results"))[1:]:
        os.rename(f"{run}/results/{name}", tmp_path / "later" / name)
    return run


@contextmanager
def served(output: str, monkeypatch, **options):
    """The link to the page while it is served, by a thread."""
    monkeypatch.setattr(live_page, "REFRESH_SECONDS", 0.2)
    links: list[str] = []
    known = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    def ready(link: str) -> None:
        loops.append(asyncio.get_running_loop())
        links.append(link)
        known.set()

    def run() -> None:
        given = {"limit": 50, "host": "127.0.0.1", "port": 0, "allow_code": (), **options}
        with pytest.raises(RuntimeError, match="stopped"):
            serve(output, ready=ready, **given)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert known.wait(60)
        yield links[0]
    finally:
        loops[0].call_soon_threadsafe(loops[0].stop)
        thread.join(60)


def statuses(link: str, *requests: tuple[str, dict]) -> list[int]:
    async def ask() -> list[int]:
        found = []
        for path, cookies in requests:
            async with aiohttp.ClientSession(cookies=cookies) as session:
                url = link.partition("/?")[0] + path
                async with session.get(url, allow_redirects=False) as answer:
                    found.append(answer.status)
        return found

    return asyncio.run(ask())


def test_only_those_who_have_the_link_are_answered(output, monkeypatch):
    with served(output, monkeypatch) as link:
        base, _, token = link.partition("/?token=")
        assert base.startswith("http://127.0.0.1:")
        cookie = {f"diffpir-{base.rpartition(':')[2]}": token}
        assert statuses(
            link,
            ("/", {}),
            ("/data.json", {}),
            ("/full/0-0-0-restored.png", {}),
            ("/?token=wrong", {}),
            (f"/?token={token}", {}),
            ("/", cookie),
            ("/data.json", cookie),
            ("/full/0-0-0-restored.png", cookie),
            ("/full/0-0-9-restored.png", cookie),
            ("/full/..%2F..%2Frun.json", cookie),
        ) == [403, 403, 403, 403, 303, 200, 200, 200, 404, 404]


def test_what_cannot_be_served_is_refused_in_words(output, monkeypatch, tmp_path):
    options = {"limit": 5, "host": "127.0.0.1", "allow_code": (), "ready": print}
    with served(output, monkeypatch) as link:
        port = int(link.partition("/?")[0].rpartition(":")[2])
        with pytest.raises(PipelineError, match=f"nothing can listen at 127.0.0.1:{port}"):
            serve(output, port=port, **options)
    with pytest.raises(PipelineError, match="is no job's output"):
        serve(str(tmp_path / "none"), port=0, **options)


def test_the_page_learns_what_comes(browser, output, monkeypatch, tmp_path):
    with served(output, monkeypatch) as link, Heartbeat(Layout(output)) as heartbeat:
        heartbeat.say({"rows": 9, "done": 3, "failed": 0, "done_now": 3, "seconds": 6.0})
        heartbeat._touch()
        with opened(browser, link, (link.partition("?")[0],)) as page:
            cards = page.locator("#cards li.card")
            assert cards.count() == 3
            page.get_by_text("running: 3 of 9 images").wait_for()
            page.get_by_text("0.5 images per second").wait_for()
            page.get_by_text("GiB of disk free").wait_for()
            assert "token" not in page.url
            first = cards.first.element_handle()
            page.get_by_label("Search").fill("scene")
            for name in os.listdir(tmp_path / "later"):
                os.rename(tmp_path / "later" / name, f"{output}/results/{name}")
            page.set_default_timeout(15_000)
            page.get_by_text("running: 9 of 9 images").wait_for()
            until(page, "document.querySelectorAll('#cards li.card').length === 9")
            assert first.evaluate("card => card.isConnected")  # what is looked at stays
            assert page.get_by_label("Search").input_value() == "scene"
            assert page.evaluate("document.activeElement.id") == "search"
            page.get_by_role("tab", name="Failures (1)").wait_for()
            page.locator("#cards h3 button", has_text="scene-0000008").click()
            until(page, "document.querySelector('#viewer-stage img').naturalWidth === 1400")
            page.keyboard.press("Escape")
            assert violations(page) == []


def test_an_output_that_cannot_be_read_for_a_while_is_said_on_the_page(output, monkeypatch):
    live = live_page.Live(output, 5, (), "token")
    os.rename(f"{output}/run.json", f"{output}/away.json")
    live.refresh()
    assert "is no job's output" in live.payload["trouble"] and len(live.payload["rows"]) == 3
    os.rename(f"{output}/away.json", f"{output}/run.json")
    live.refresh()
    assert live.payload["trouble"] == ""
